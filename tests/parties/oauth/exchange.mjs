// Token exchange (RFC 8693), as a grant type of our own: oidc-provider has none. It trades an access token of this
// server, or a client's signed word on who the account is, for an access token of that account, or of the one that
// `requested_subject` names, as some vendors have it for an administrator's token. No delegation: an actor token is refused.

import { jwtVerify } from 'jose'
import { errors } from 'oidc-provider'

export const TOKEN_EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange'

const ACCESS_TOKEN = 'urn:ietf:params:oauth:token-type:access_token'
const JWT = 'urn:ietf:params:oauth:token-type:jwt'
const PARAMETERS = [
  'subject_token', 'subject_token_type', 'requested_token_type', 'scope', 'actor_token', 'actor_token_type',
  'requested_subject',
]

export function registerTokenExchange(provider) {
  provider.registerGrantType(TOKEN_EXCHANGE, (ctx) => exchange(provider, ctx), PARAMETERS)
}

async function exchange(provider, ctx) {
  const { client, params } = ctx.oidc
  if (!params.subject_token || !params.subject_token_type) {
    throw new errors.InvalidRequest('subject_token and subject_token_type are needed')
  }
  if (params.actor_token || (params.requested_token_type ?? ACCESS_TOKEN) !== ACCESS_TOKEN) {
    throw new errors.InvalidRequest('only an access token, and without an actor, is issued')
  }
  const subject = await find(provider, client, params)
  const scope = narrowed(subject.scope, params.scope, client)
  const accountId = params.requested_subject ?? subject.account

  const grant = new provider.Grant({ accountId, clientId: client.clientId })
  if (scope) grant.addOIDCScope(scope)
  const token = new provider.AccessToken({
    accountId, client, grantId: await grant.save(), gty: TOKEN_EXCHANGE, scope,
  })
  ctx.oidc.entity('AccessToken', token)
  ctx.body = {
    access_token: await token.save(),
    issued_token_type: ACCESS_TOKEN,
    token_type: 'Bearer',
    expires_in: token.expiration,
    ...(scope ? { scope } : {}),
  }
}

/** Whose the subject token is, and what it may. */
async function find(provider, client, params) {
  if (params.subject_token_type === ACCESS_TOKEN) {
    const token = await provider.AccessToken.find(params.subject_token)
    if (token) return { account: token.accountId, scope: token.scope ?? '' }
  }
  if (params.subject_token_type === JWT) {
    const key = new TextEncoder().encode(client.clientSecret)
    const rules = { algorithms: ['HS256'], audience: provider.issuer, requiredClaims: ['sub', 'exp'] }
    const verified = await jwtVerify(params.subject_token, key, rules).catch(() => undefined)
    if (verified) return { account: verified.payload.sub }
  }
  // Section 2.2.2: a subject token that is not accepted is an invalid request.
  throw new errors.InvalidRequest('the subject token is not accepted')
}

/** What was asked for, if the subject token and the client may have it; all of it if nothing was asked for. */
function narrowed(held, asked, client) {
  const bound = held ?? client.scope
  const scope = asked ?? bound
  const allowed = new Set((bound ?? asked ?? '').split(' '))
  const beyond = (scope ?? '').split(' ').filter((name) => !allowed.has(name))
  if (beyond.length > 0) throw new errors.InvalidScope('more than the subject token has', beyond.join(' '))
  return scope || undefined
}
