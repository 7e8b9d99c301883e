// The browser, against a stand-alone client of the authorization server: a page with a button, and a callback that
// takes only the browser that pressed it.

import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import http from 'node:http'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { after, before, test } from 'node:test'

import { APP, proof, redeem } from './flow.mjs'
import { ISSUER, run, startAuth } from './support.mjs'

let folder, server, site, address

before(async () => {
  folder = mkdtempSync(path.join(tmpdir(), 'keyway-parties-'))
  site = http.createServer((request, response) => app(request, response))
  await new Promise((resolve) => site.listen(0, '127.0.0.1', resolve))
  address = `http://127.0.0.1:${site.address().port}`
  server = await startAuth(folder, [
    { ...APP, grant_types: ['authorization_code', 'refresh_token'], redirect_uris: [`${address}/callback`] },
  ])
})

after(async () => {
  await server?.stop()
  site.closeAllConnections()
  site.close()
  rmSync(folder, { recursive: true })
})

const PAGE = '<!doctype html><title>Connect</title><form method="post" action="/connect"><button>Connect</button></form>'
const { verifier, challenge } = proof()

async function app(request, response) {
  const url = new URL(request.url, address)
  const show = (status, title, text = '') => {
    response.writeHead(status, { 'content-type': 'text/html' })
    response.end(`<!doctype html><title>${title}</title><body><p>${text}</p></body>`)
  }
  if (url.pathname === '/callback') {
    const parameters = Object.fromEntries(url.searchParams)
    if (request.headers.cookie !== `browser=${parameters.state}`) return show(403, 'Another browser')
    if (parameters.error) return show(200, 'Not connected', parameters.error)
    const { status, json } = await redeem(server, parameters.code, verifier, { ...APP, callback: `${address}/callback` })
    return status === 200 ? show(200, 'Connected', `${json.account_id}: ${json.scope}`) : show(400, 'Not connected', json.error)
  }
  if (request.method !== 'POST') return response.writeHead(200, { 'content-type': 'text/html' }).end(PAGE)
  const query = new URLSearchParams({
    client_id: APP.client_id, response_type: 'code', redirect_uri: `${address}/callback`, prompt: 'consent', state: 'b1',
    scope: 'contacts.read contacts.write offline_access', code_challenge: challenge, code_challenge_method: 'S256',
  })
  const headers = { location: `${ISSUER}/auth?${query}`, 'set-cookie': 'browser=b1; HttpOnly; SameSite=Lax; Path=/' }
  response.writeHead(303, headers).end()
}

async function person(...args) {
  const map = `${new URL(ISSUER).hostname}:443=127.0.0.1:${server.port}`
  const { code, summary, said } = await run('browser/consent.mjs', ['--url', address, '--map', map, ...args])
  assert.equal(code, 0, `${said} ${JSON.stringify(summary)}`)
  return summary
}

test('a person connects', async () => {
  const picture = path.join(folder, 'page.png')
  const seen = await person('--account', 'account-7', '--screenshot', picture)
  assert.deepEqual([seen.status, seen.title], [200, 'Connected'])
  assert.match(seen.text, /^account-7: .*contacts\.write/)
  assert.ok(seen.url.startsWith(`${address}/callback?`))
  assert.ok(seen.cookies.includes('browser') && seen.cookies.includes('_session'))
  assert.equal(readFileSync(picture).subarray(1, 4).toString(), 'PNG')
})

test('a person declines all, or a part', async () => {
  const denied = await person('--deny')
  assert.deepEqual([denied.title, denied.text], ['Not connected', 'access_denied'])
  const part = await person('--decline', 'contacts.write')
  assert.match(part.text, /contacts\.read/)
  assert.doesNotMatch(part.text, /contacts\.write/)
})

test('another browser and a second time are seen as what they are', async () => {
  const seen = await person('--second-browser', '--replay')
  assert.deepEqual([seen.second.status, seen.second.title], [403, 'Another browser'])
  assert.deepEqual([seen.status, seen.title], [200, 'Connected'])
  assert.deepEqual([seen.replayed.status, seen.replayed.text], [400, 'invalid_grant'])
})

test('where it goes wrong is told', async () => {
  const { code, summary } = await run('browser/consent.mjs', ['--url', 'http://elsewhere.example.test/'])
  assert.equal(code, 1)
  assert.match(summary.failed, /ERR_NAME_NOT_RESOLVED/)
})
