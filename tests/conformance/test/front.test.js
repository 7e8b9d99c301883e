// The front and Prism together, against a small document of our own: what fits is accepted, whatever
// does not is caught, and answers can be gone on with.

import assert from 'node:assert/strict'
import http from 'node:http'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { after, before, beforeEach, test } from 'node:test'
import { fileURLToPath } from 'node:url'

import { Children } from '../src/children.js'
import { Routes, load } from '../src/documents.js'
import { Front } from '../src/front.js'
import { startAll } from '../src/prism.js'
import { report } from '../src/report.js'

const children = new Children()
let documents, folder, front, address

before(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'keyway-conformance-test-'))
  documents = await load(fileURLToPath(new URL('.', import.meta.url)))
  const addresses = await startAll(children, documents, folder)
  front = new Front(new Routes(documents), addresses)
  address = await front.listen()
})

after(async () => {
  await children.stop()
  await front.close()
  await rm(folder, { recursive: true })
})

beforeEach(() => {
  front.requests = []
})

function send(method, target, { body, host = 'api.example.com', token = 'x', type = 'application/json' } = {}) {
  const headers = { host, accept: 'application/json' }
  if (token) headers.authorization = `Bearer ${token}`
  if (body !== undefined) headers['content-type'] = type
  return new Promise((resolve, reject) => {
    const request = http.request(address + target, { method, headers }, async (response) => {
      let text = ''
      for await (const chunk of response) text += chunk
      const note = front.requests.at(-1)
      resolve({ status: response.statusCode, body: text && JSON.parse(text), note })
    })
    request.once('error', reject)
    request.end(body === undefined ? undefined : JSON.stringify(body))
  })
}

test('a request that fits is accepted and counted for its operation', async () => {
  const { status, body, note } = await send('GET', '/greetings/v1/warm?limit=3')
  assert.equal(status, 200)
  assert.equal(note.outcome, 'accepted')
  assert.equal(note.operation.id, 'list')
  assert.match(body.results[0].id, /^\d+$/)
})

test('literal paths win over templates', async () => {
  const { status, note } = await send('GET', '/greetings/v1/search')
  assert.equal(status, 204)
  assert.equal(note.operation.id, 'search')
})

test('the first page has a next one and the next is the last', async () => {
  const first = await send('GET', '/greetings/v1/warm')
  assert.ok(first.body.paging.next.after)
  const next = await send('GET', '/greetings/v1/warm?after=abc')
  assert.equal(next.body.paging, undefined)
})

test('a batch answers each of its inputs', async () => {
  const inputs = [
    { id: '7', objectWriteTraceId: 'a', properties: { word: 'hello' } },
    { id: '8', objectWriteTraceId: 'b', properties: { word: 'bye' } },
  ]
  const { body } = await send('POST', '/greetings/v1/warm/batch', { body: { inputs } })
  assert.equal(body.status, 'COMPLETE')
  assert.deepEqual(body.results.map((one) => [one.id, one.objectWriteTraceId, one.properties.word]), [
    ['7', 'a', 'hello'],
    ['8', 'b', 'bye'],
  ])
})

for (const [name, method, target, options, complaint] of [
  ['a query parameter of the wrong type', 'GET', '/greetings/v1/warm?limit=many', {}, /limit must be integer/],
  ['a query parameter that is not in the document', 'GET', '/greetings/v1/warm?limt=1', {}, /limt is not in/],
  ['a body without a required member', 'POST', '/greetings/v1/warm/batch', { body: {} }, /'inputs'/],
  ['a member of the wrong type', 'POST', '/greetings/v1/warm/batch', { body: { inputs: [{ id: 7 }] } }, /string/],
  ['a member that is not in the document', 'POST', '/greetings/v1/warm/batch', { body: { inputs: [{ id: '7', traceId: 'a' }] } }, /traceId is not in/],
  ['no body at all', 'POST', '/greetings/v1/warm/batch', {}, /body/i],
  ['a body of another type', 'POST', '/greetings/v1/warm/batch', { body: { inputs: [] }, type: 'text/plain' }, /content type/i],
  ['no credential', 'GET', '/greetings/v1/warm', { token: '' }, /security/],
]) {
  test(`${name} is rejected`, async () => {
    const { status, note } = await send(method, target, options)
    assert.equal(note.outcome, 'rejected', JSON.stringify(note))
    assert.equal(status, 400)
    assert.match(note.complaints.join('; '), complaint)
  })
}

test('another path, method or host is unmatched', async () => {
  for (const [method, target, options] of [
    ['GET', '/greetings/v2/warm', {}],
    ['GET', '/greetings/v1/', {}],
    ['PUT', '/greetings/v1/warm', {}],
    ['GET', '/greetings/v1/warm', { host: 'api.example.org' }],
  ]) {
    const { status, note } = await send(method, target, options)
    assert.equal(note.outcome, 'unmatched', target)
    assert.equal(status, 404)
  }
})

test('only the part without documents is let off', async () => {
  assert.equal((await send('GET', '/account-info/v3/details')).note.outcome, 'undocumented')
  assert.equal((await send('GET', '/account-infos')).note.outcome, 'unmatched')
})

test('the report passes what is right and fails each thing that is wrong', async () => {
  const good = (await send('GET', '/greetings/v1/warm')).note
  const bad = (await send('GET', '/greetings/v1/warm?limit=x')).note
  const lost = (await send('GET', '/nowhere')).note
  const said = []
  const passes = (requests, problems = []) => {
    said.length = 0
    const rows = [{ name: 'read', answer: '200', requests, problems }]
    return report([{ line: '1.x', rows }], documents, (line) => said.push(line)).passed
  }
  assert.equal(passes([good]), true)
  assert.match(said.at(-1), /1 requests, 0 rejected, 0 unmatched, 1 of 3 vendor operations covered/)
  assert.equal(passes([good, bad]), false)
  assert.match(said.join('\n'), /limit must be integer/)
  assert.equal(passes([good, lost]), false)
  assert.equal(passes([good], ['sent nothing']), false)
  assert.equal(report([], documents, () => {}).passed, false)
})

test('the report counts what was accepted, and names what has no document', async () => {
  const good = (await send('GET', '/greetings/v1/warm')).note
  const bad = (await send('GET', '/greetings/v1/search?x=1')).note
  const alone = (await send('GET', '/account-info/v3/details')).note
  const row = (name, request) => ({ name, answer: '200', requests: [request], problems: [] })
  const rows = [row('read', good), row('read again', good), row('search', bad), row('action account.info', alone)]
  const lines = ['1.x', '2.x'].map((line) => ({ line, rows }))
  const found = report(lines, documents, () => {})
  assert.deepEqual(found, { passed: false, covered: 1, all: 3, undocumented: ['account.info'] })
})
