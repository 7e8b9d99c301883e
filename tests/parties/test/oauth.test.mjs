// The authorization server, as its clients and as tests meet it: the code flow, rotation and what a reuse costs,
// revocation, expiry, the other grants, and each way of going wrong on demand.

import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { after, before, beforeEach, test } from 'node:test'

import { SignJWT } from 'jose'

import { APP, CALLBACK, connect, consent, proof, redeem, refresh, revoke, token } from './flow.mjs'
import { ISSUER, startAuth, toAuth, toControl } from './support.mjs'

const TOKEN_EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange'
const GRANTS = ['authorization_code', 'refresh_token', 'client_credentials', TOKEN_EXCHANGE]
const OTHER = { client_id: 'other', client_secret: 'another secret' }
const KEEPING = { client_id: 'keeping', client_secret: 'a third secret' }
const client = (names) => ({ ...names, grant_types: GRANTS, redirect_uris: [CALLBACK] })

let folder, server

before(async () => {
  folder = mkdtempSync(path.join(tmpdir(), 'keyway-parties-'))
  server = await startAuth(folder, [client(APP), client(OTHER), { ...client(KEEPING), rotate_refresh_token: false }])
})

after(async () => {
  await server?.stop()
  rmSync(folder, { recursive: true })
})

beforeEach(async () => {
  await toControl(server, 'POST', 'reset')
  const usual = { 'access-token-seconds': 1800, 'refresh-token-seconds': 1209600, 'token-members': {} }
  await toControl(server, 'POST', 'settings', usual)
})

const fault = (value) => toControl(server, 'POST', 'faults', value)
const introspect = (value) => toControl(server, 'POST', 'introspect', { token: value })

/** Waits for what must come; the test runner's own limit ends it otherwise. */
async function until(holds) {
  while (!(await holds())) await new Promise((resolve) => setTimeout(resolve, 5))
}

test('the code flow gives tokens, and the callback names the issuer', async () => {
  const { verifier, challenge } = proof()
  const callback = await consent(server, { challenge })
  assert.equal(callback.iss, ISSUER)
  assert.equal(callback.state, 'state-1')
  const { status, json } = await redeem(server, callback.code, verifier)
  assert.equal(status, 200)
  assert.equal(json.token_type, 'Bearer')
  assert.equal(json.expires_in, 1800)
  assert.equal(json.account_id, 'account-1')
  assert.deepEqual(json.scope.split(' ').sort(), ['contacts.read', 'contacts.write', 'offline_access'])
  assert.equal((await introspect(json.access_token)).account, 'account-1')
})

test('the standard metadata is served', async () => {
  const { json } = await toAuth(server, 'GET', '/.well-known/openid-configuration')
  assert.equal(json.issuer, ISSUER)
  assert.equal(json.token_endpoint, `${ISSUER}/token`)
  assert.equal(json.revocation_endpoint, `${ISSUER}/token/revocation`)
  assert.equal(json.authorization_response_iss_parameter_supported, true)
})

test('a code needs its verifier, serves once, and a second use ends what the first gave', async () => {
  const { verifier, challenge } = proof()
  const first = await consent(server, { challenge })
  assert.equal((await redeem(server, first.code, proof().verifier)).json.error, 'invalid_grant')

  const { code } = await consent(server, { challenge })
  const { json } = await redeem(server, code, verifier)
  assert.equal((await redeem(server, code, verifier)).json.error, 'invalid_grant')
  assert.equal((await introspect(json.refresh_token)).state, 'revoked')
})

test('a request without a challenge is refused', async () => {
  assert.equal((await consent(server, {})).error, 'invalid_request')
})

test('declining sends the browser back with access_denied', async () => {
  const { challenge } = proof()
  const callback = await consent(server, { challenge, decision: 'deny' })
  assert.equal(callback.error, 'access_denied')
  assert.equal(callback.state, 'state-1')
  assert.equal(callback.iss, ISSUER)
})

test('a scope that is declined is not granted', async () => {
  const { scope } = await connect(server, { declined: ['contacts.write'] })
  assert.deepEqual(scope.split(' ').sort(), ['contacts.read', 'offline_access'])
})

test('each refresh replaces the refresh token', async () => {
  const first = await connect(server)
  const { json: second } = await refresh(server, first.refresh_token)
  const { json: third } = await refresh(server, second.refresh_token)
  assert.equal(new Set([first, second, third].map((one) => one.refresh_token)).size, 3)
  const ours = (await toControl(server, 'GET', 'refresh-tokens')).slice(-3)
  assert.deepEqual(ours.map((one) => [one.rotations, one.consumed, one.presented, one.state]), [
    [0, true, 1, 'consumed'],
    [1, true, 1, 'consumed'],
    [2, false, 0, 'valid'],
  ])
  const { requests, processed } = await toControl(server, 'GET', 'requests')
  assert.deepEqual(requests, { token: { authorization_code: 1, refresh_token: 2 } })
  assert.deepEqual(processed.token.refresh_token, { ok: 2 })
})

test('a refresh token that is used twice ends the whole grant', async () => {
  const first = await connect(server)
  const { json: second } = await refresh(server, first.refresh_token)
  const { status, json } = await refresh(server, first.refresh_token)
  assert.equal(status, 400)
  assert.equal(json.error, 'invalid_grant')
  for (const dead of [first.access_token, second.access_token, second.refresh_token]) {
    assert.equal((await introspect(dead)).active, false)
  }
  assert.equal((await refresh(server, second.refresh_token)).json.error, 'invalid_grant')
})

test('of many uses at the same moment one succeeds, and the grant ends', async () => {
  const { refresh_token: ours } = await connect(server)
  const answers = await Promise.all(Array.from({ length: 20 }, () => refresh(server, ours)))
  assert.equal(answers.filter(({ status }) => status === 200).length, 1)
  assert.equal((await introspect(answers.find(({ status }) => status === 200).json.refresh_token)).state, 'revoked')
  const entry = (await toControl(server, 'GET', 'refresh-tokens')).find(({ token: value }) => value === ours)
  assert.deepEqual([entry.presented, entry.state], [20, 'revoked'])
})

test('a client whose refresh tokens stay uses one as often as it likes', async () => {
  const { verifier, challenge } = proof()
  const { code } = await consent(server, { challenge, query: { client_id: KEEPING.client_id } })
  const { json } = await redeem(server, code, verifier, KEEPING)
  for (let time = 0; time < 2; time += 1) {
    const { status, json: again } = await refresh(server, json.refresh_token, KEEPING)
    assert.equal(status, 200)
    assert.equal(again.refresh_token, json.refresh_token)
  }
})

test("another client's refresh token and a wrong secret are told apart", async () => {
  const { refresh_token: ours } = await connect(server)
  assert.equal((await refresh(server, ours, OTHER)).json.error, 'invalid_grant')
  const wrong = await refresh(server, ours, { ...APP, client_secret: 'wrong' })
  assert.equal(wrong.status, 401)
  assert.equal(wrong.json.error, 'invalid_client')
  assert.equal((await introspect(ours)).state, 'valid')
})

test('revoking a refresh token ends the grant, and is no error twice', async () => {
  const { access_token: access, refresh_token: ours } = await connect(server)
  assert.equal((await revoke(server, ours)).status, 200)
  assert.equal((await introspect(ours)).state, 'revoked')
  assert.equal((await introspect(access)).active, false)
  assert.equal((await refresh(server, ours)).json.error, 'invalid_grant')
  assert.equal((await revoke(server, ours)).status, 200)
  assert.equal((await toControl(server, 'GET', 'requests')).processed.revocation.none.ok, 2)
})

test('an account holder who withdraws consent ends the grant', async () => {
  const { refresh_token: ours } = await connect(server, { account: 'account-2' })
  const { revoked } = await toControl(server, 'POST', 'revoke', { account: 'account-2' })
  assert.equal(revoked.length, 1)
  assert.equal((await refresh(server, ours)).json.error, 'invalid_grant')
})

test('tokens expire after their time, and at once on demand', async () => {
  await toControl(server, 'POST', 'settings', { 'access-token-seconds': 1 })
  const { access_token: brief, refresh_token: ours, expires_in: seconds } = await connect(server)
  assert.equal(seconds, 1)
  await until(async () => (await introspect(brief)).state === 'expired')
  const { json } = await refresh(server, ours)
  await toControl(server, 'POST', 'expire', { token: json.refresh_token })
  assert.equal((await introspect(json.refresh_token)).state, 'expired')
  assert.equal((await refresh(server, json.refresh_token)).json.error, 'invalid_grant')
})

test('client credentials give a token of the client itself', async () => {
  const { status, json } = await token(server, { grant_type: 'client_credentials', scope: 'contacts.read' })
  assert.equal(status, 200)
  assert.equal(json.scope, 'contacts.read')
  assert.equal(json.refresh_token, undefined)
  assert.equal(json.account_id, undefined)
  const { active, kind, client: holder } = await introspect(json.access_token)
  assert.deepEqual({ active, kind, holder }, { active: true, kind: 'ClientCredentials', holder: 'app' })
})

test('an access token is exchanged for a narrower one of the same account', async () => {
  const { access_token: subject } = await connect(server, { account: 'account-3' })
  const form = {
    grant_type: TOKEN_EXCHANGE, subject_token: subject, subject_token_type: 'urn:ietf:params:oauth:token-type:access_token',
  }
  const { status, json } = await token(server, { ...form, scope: 'contacts.read' }, OTHER)
  assert.equal(status, 200)
  assert.equal(json.issued_token_type, 'urn:ietf:params:oauth:token-type:access_token')
  assert.equal(json.scope, 'contacts.read')
  assert.equal(json.account_id, 'account-3')
  const { account, client: holder } = await introspect(json.access_token)
  assert.deepEqual({ account, holder }, { account: 'account-3', holder: 'other' })
  assert.equal((await token(server, { ...form, requested_subject: 'account-7' }, OTHER)).json.account_id, 'account-7')
  assert.equal((await token(server, { ...form, scope: 'contacts.read openid' })).json.error, 'invalid_scope')
  assert.equal((await token(server, { ...form, subject_token: 'nonsense' })).json.error, 'invalid_request')
  assert.equal((await token(server, { ...form, actor_token: subject })).json.error, 'invalid_request')
})

test("a client's signed word on the account is exchanged, a stranger's is not", async () => {
  const word = (secret) =>
    new SignJWT().setProtectedHeader({ alg: 'HS256' }).setSubject('account-4').setAudience(ISSUER).setExpirationTime('1m')
      .sign(new TextEncoder().encode(secret))
  const form = { grant_type: TOKEN_EXCHANGE, subject_token_type: 'urn:ietf:params:oauth:token-type:jwt', scope: 'contacts.read' }
  const { json } = await token(server, { ...form, subject_token: await word(APP.client_secret) })
  assert.equal(json.account_id, 'account-4')
  const stranger = await token(server, { ...form, subject_token: await word('another secret') })
  assert.equal(stranger.json.error, 'invalid_request')
})

test('members that a vendor adds are in token responses', async () => {
  await toControl(server, 'POST', 'settings', { 'token-members': { instance_url: 'https://na1.example.test' } })
  assert.equal((await connect(server)).instance_url, 'https://na1.example.test')
})

test('clients can be added and their secrets changed', async () => {
  const late = { ...client({ client_id: 'late', client_secret: 'first' }) }
  const ask = (secret) => token(server, { grant_type: 'client_credentials' }, { client_id: 'late', client_secret: secret })
  await toControl(server, 'POST', 'clients', late)
  assert.equal((await ask('first')).status, 200)
  await toControl(server, 'POST', 'clients', { ...late, client_secret: 'second' })
  assert.equal((await ask('first')).json.error, 'invalid_client')
  assert.equal((await ask('second')).status, 200)
  await assert.rejects(toControl(server, 'POST', 'clients', { ...late, client_id: 'bad', redirect_uris: ['nonsense'] }))
})

test('an answer can take the place of the real one, which then did not happen', async () => {
  const { refresh_token: ours } = await connect(server)
  await fault({ status: 429, headers: { 'retry-after': '7' }, body: { error: 'slow_down' }, times: 1 })
  await fault({ status: 200, headers: { 'content-type': 'text/html' }, body: '<h1>Down</h1>', times: 1 })
  await fault({ status: 200, body: '', times: 1 })
  await fault({ status: 500, times: 1 })
  const limited = await refresh(server, ours)
  assert.deepEqual([limited.status, limited.headers['retry-after'], limited.json.error], [429, '7', 'slow_down'])
  const html = await refresh(server, ours)
  assert.deepEqual([html.status, html.headers['content-type'], html.text], [200, 'text/html', '<h1>Down</h1>'])
  const empty = await refresh(server, ours)
  assert.deepEqual([empty.status, empty.text], [200, ''])
  assert.equal((await refresh(server, ours)).status, 500)
  assert.equal((await introspect(ours)).state, 'valid')
  assert.equal((await refresh(server, ours)).status, 200)
})

test('a connection that is dropped afterwards costs the refresh token', async () => {
  const { refresh_token: ours } = await connect(server)
  await fault({ 'grant-type': 'refresh_token', drop: true, times: 1 })
  await assert.rejects(refresh(server, ours))
  assert.equal((await introspect(ours)).state, 'consumed')
})

test('a connection that is dropped before costs nothing', async () => {
  const { refresh_token: ours } = await connect(server)
  await fault({ drop: true, processed: false, times: 1 })
  await assert.rejects(refresh(server, ours))
  assert.equal((await introspect(ours)).state, 'valid')
})

test('members of a real answer can be changed and taken away', async () => {
  const { refresh_token: ours } = await connect(server)
  await fault({ patch: { expires_in: '1e12', refresh_token: null }, times: 1 })
  const { json } = await refresh(server, ours)
  assert.equal(json.expires_in, '1e12')
  assert.ok(!('refresh_token' in json) && json.access_token)
  assert.equal((await introspect(ours)).state, 'consumed')
})

test('an answer can be late, and a fault is for its grant type only', async () => {
  const { refresh_token: ours } = await connect(server)
  await fault({ 'grant-type': 'refresh_token', 'delay-answer-ms': 300, times: 1 })
  const begun = performance.now()
  assert.equal((await token(server, { grant_type: 'client_credentials' })).status, 200)
  assert.equal((await refresh(server, ours)).status, 200)
  assert.ok(performance.now() - begun >= 299)
})

test('requests are held, before or after they are carried out, until they are released', async () => {
  const { refresh_token: ours } = await connect(server)
  await fault({ hold: 'request', times: 1 })
  await fault({ hold: 'answer', times: 1 })
  const held = async () => (await toControl(server, 'GET', 'requests')).held
  const first = refresh(server, ours)
  await until(async () => (await held()) === 1)
  const second = token(server, { grant_type: 'client_credentials' })
  await until(async () => (await held()) === 2)
  assert.equal((await introspect(ours)).state, 'valid')
  const { token: carriedOut } = (await toControl(server, 'GET', 'requests')).processed
  assert.deepEqual(carriedOut, { authorization_code: { ok: 1 }, client_credentials: { ok: 1 } })
  assert.deepEqual(await toControl(server, 'POST', 'release'), { released: 2 })
  assert.deepEqual([(await first).status, (await second).status], [200, 200])
})

test('a fault that says something unknown is refused', async () => {
  await assert.rejects(fault({ stauts: 500 }), /unknown: stauts/)
  await assert.rejects(fault({ hold: 'forever' }))
  await assert.rejects(fault({ patch: {}, status: 500 }))
})
