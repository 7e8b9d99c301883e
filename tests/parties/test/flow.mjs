// A client of the authorization server without a browser: the code flow as HTTP requests, with a jar for cookies.

import { createHash, randomBytes } from 'node:crypto'

import { ISSUER, toAuth } from './support.mjs'

export const CALLBACK = 'https://app.example.test/callback'
export const APP = { client_id: 'app', client_secret: 'a secret: of+the/app %' }

/** What a code is bound to (RFC 7636). */
export function proof() {
  const verifier = randomBytes(32).toString('base64url')
  return { verifier, challenge: createHash('sha256').update(verifier).digest('base64url') }
}

/** Goes from the client's redirect to the client's callback. Answers the callback's parameters. */
export async function consent(server, { challenge, account = 'account-1', decision = 'continue', declined = [], query = {} }) {
  const scope = 'contacts.read contacts.write offline_access'
  const parameters = new URLSearchParams({
    client_id: APP.client_id, response_type: 'code', redirect_uri: CALLBACK, scope, state: 'state-1', prompt: 'consent',
    ...(challenge ? { code_challenge: challenge, code_challenge_method: 'S256' } : {}), ...query,
  })
  const jar = new Map()
  const page = await browse(server, jar, 'GET', `/auth?${parameters}`)
  if (page.callback) return page.callback
  const granted = scope.split(' ').filter((one) => !declined.includes(one))
  const form = new URLSearchParams([['account', account], ['decision', decision], ...granted.map((one) => ['scope', one])])
  return (await browse(server, jar, 'POST', page.target, form)).callback
}

/** Trades a code. */
export function redeem(server, code, verifier, client = APP) {
  const redirect = client.callback ?? CALLBACK
  return token(server, { grant_type: 'authorization_code', code, code_verifier: verifier, redirect_uri: redirect }, client)
}

/** From nothing to tokens. */
export async function connect(server, options = {}) {
  const { verifier, challenge } = proof()
  const { code } = await consent(server, { challenge, ...options })
  return (await redeem(server, code, verifier)).json
}

export function refresh(server, refreshToken, client = APP) {
  return token(server, { grant_type: 'refresh_token', refresh_token: refreshToken }, client)
}

/** A request to the token endpoint, the client authenticated by HTTP Basic (RFC 6749 section 2.3.1). */
export function token(server, form, client = APP) {
  return toAuth(server, 'POST', '/token', { form, headers: basic(client) })
}

export function revoke(server, value, client = APP) {
  return toAuth(server, 'POST', '/token/revocation', { form: { token: value }, headers: basic(client) })
}

function basic({ client_id: id, client_secret: secret }) {
  const coded = [id, secret].map((part) => new URLSearchParams([['', part]]).toString().slice(1)).join(':')
  return { authorization: `Basic ${Buffer.from(coded).toString('base64')}` }
}

/** Follows redirects until there is a page, or until they lead away from the server. */
async function browse(server, jar, method, target, form) {
  for (let hop = 0; hop < 10; hop += 1) {
    const cookie = [...jar].map((pair) => pair.join('=')).join('; ')
    const answer = await toAuth(server, method, target, { form, headers: { accept: 'text/html', ...(cookie ? { cookie } : {}) } })
    for (const line of answer.headers['set-cookie'] ?? []) keep(jar, line)
    if (answer.status < 300 || answer.status >= 400) return { ...answer, target }
    const next = new URL(answer.headers.location, ISSUER)
    if (next.origin !== ISSUER) return { callback: Object.fromEntries(next.searchParams) }
    ;[method, target, form] = ['GET', next.pathname + next.search, undefined]
  }
  throw new Error('redirected without end')
}

function keep(jar, line) {
  const [, name, value] = /^([^=]+)=([^;]*)/.exec(line)
  if (value === '') jar.delete(name)
  else jar.set(name, value)
}
