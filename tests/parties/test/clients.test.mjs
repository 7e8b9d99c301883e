// jsforce against the mock Salesforce org, directly and below a path, as it is behind a proxy API; and that the mock
// lets nobody in whom it should not.

import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import http from 'node:http'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { after, before, test } from 'node:test'

import { APP, connect, CALLBACK } from './flow.mjs'
import { run, start, startAuth, toControl } from './support.mjs'

const GRANTS = ['authorization_code', 'refresh_token']
const PREFIX = '/v1/environments/dev/tenants/acme/connectors/keyway/salesforce/proxy'

let folder, auth, org

before(async () => {
  folder = mkdtempSync(path.join(tmpdir(), 'keyway-parties-'))
  auth = await startAuth(folder, [{ ...APP, grant_types: GRANTS, redirect_uris: [CALLBACK] }])
  const introspect = `http://127.0.0.1:${auth.control}`
  org = await start('api/salesforce.mjs', ['--token', 'good', '--records', '4321', '--introspect', introspect])
})

after(async () => {
  await org?.stop()
  await auth?.stop()
  rmSync(folder, { recursive: true })
})

// In one word with its option: one token of 64 begins with a hyphen.
const drive = (url, token) => run('clients/salesforce.mjs', ['--instance-url', url, `--token=${token}`])
const direct = () => `http://127.0.0.1:${org.port}`

test('jsforce lists page by page, creates, and reads back', async () => {
  const { code, summary } = await drive(direct(), 'good')
  assert.deepEqual([code, summary.failed, summary.pages], [0, [], 3])
})

test('jsforce works below a path', async () => {
  const proxy = http.createServer((request, response) => {
    const target = request.url.startsWith(`${PREFIX}/`) ? request.url.slice(PREFIX.length) : '/nowhere'
    const forward = http.request(direct() + target, { method: request.method, headers: request.headers }, (answer) => {
      response.writeHead(answer.statusCode, answer.headers)
      answer.pipe(response)
    })
    request.pipe(forward)
  })
  await new Promise((resolve) => proxy.listen(0, '127.0.0.1', resolve))
  const { code, summary } = await drive(`http://127.0.0.1:${proxy.address().port}${PREFIX}`, 'good')
  proxy.closeAllConnections()
  proxy.close()
  assert.deepEqual([code, summary.failed], [0, []])
})

test('a wrong token opens nothing, and is not answered', async () => {
  const { code, output, summary } = await drive(direct(), 'wrong-token')
  assert.equal(code, 1)
  assert.match(summary.failed[0], /^INVALID_SESSION_ID/)
  assert.doesNotMatch(output, /wrong-token/)
})

test('tokens of the authorization server are good until they are not', async () => {
  const { access_token: access, refresh_token: refreshToken } = await connect(auth)
  assert.equal((await drive(direct(), access)).code, 0)
  assert.equal((await drive(direct(), refreshToken)).code, 1)
  await toControl(auth, 'POST', 'expire', { token: access })
  assert.match((await drive(direct(), access)).summary.failed[0], /^INVALID_SESSION_ID/)
})
