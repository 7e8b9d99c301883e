// The mocks of vendors find every token of the host that reaches them, and take nothing else for one; and the vendors' clients
// find out what a proxy does wrong.

import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { after, before, test } from 'node:test'

import { lead } from './lead.mjs'
import { run, start, toControl } from './support.mjs'

const HOSTS_TOKEN = `kw_${'Aa0-_'.repeat(9).slice(0, 43)}`

test('a token of the host is noted wherever it stands, and three letters of it are not', async () => {
  const vendors = await start('api/vendors.mjs', ['--token', 'good', '--login', 'ann:good'])
  const send = async (target, init = {}) => (await fetch(`http://127.0.0.1:${vendors.stripe}${target}`, { method: 'POST', ...init })).text()
  await send('/clean', { body: Buffer.from(`\u0000kw_\u0001kw_${'x'.repeat(42)}.`) })
  assert.deepEqual((await toControl(vendors, 'GET', 'requests')).foreign, [])

  await send('/body', { body: `key=${HOSTS_TOKEN}` })
  await send(`/url?key=${HOSTS_TOKEN.replace('_', '%5F')}`)
  await send('/header', { headers: { 'x-api-key': HOSTS_TOKEN } })
  await send('/basic', { headers: { authorization: `Basic ${Buffer.from(`user:${HOSTS_TOKEN}`).toString('base64')}` } })
  const { foreign, counts } = await toControl(vendors, 'GET', 'requests')
  assert.deepEqual(foreign.map((line) => line.replace(/[?].*/, '')), ['/body', '/url', '/header', '/basic'].map((target) => `stripe POST ${target}`))
  assert.equal(counts.stripe, 5)
  await vendors.stop()
})

const KEY = 'key-of-the-client'
const LOGIN = 'ann:good'
const CREDENTIALS = { stripe: 'Bearer good', github: 'Bearer good', zendesk: `Basic ${Buffer.from(LOGIN).toString('base64')}` }

let mocks

before(async () => {
  mocks = await start('api/vendors.mjs', ['--token', 'good', '--login', LOGIN])
})

after(() => mocks?.stop())

/** What a client finds out through a proxy that does this wrong. */
async function through(vendor, wrong) {
  const proxy = await lead(mocks, vendor, { key: KEY, credential: CREDENTIALS[vendor], wrong })
  const { code, said, summary } = await run(`clients/${vendor}.mjs`, ['--url', proxy.url, '--token', KEY])
  proxy.stop()
  assert.equal(code, summary.failed.length === 0 ? 0 : 1, said)
  return summary.failed
}

for (const vendor of ['stripe', 'zendesk', 'github']) {
  test(`the client of ${vendor} does all that it is there for`, async () => {
    assert.deepEqual(await through(vendor), [])
  })

  test(`the client of ${vendor} finds out that its idempotency key and its condition are lost`, async () => {
    const forget = ({ headers }) => {
      delete headers['if-none-match']
      if (headers['idempotency-key']) headers['idempotency-key'] = randomUUID()
    }
    const failed = await through(vendor, { request: forget })
    assert.ok(failed.some((what) => what.startsWith('the same key makes one')), failed.join('; '))
    assert.ok(failed.includes('what has not changed is not sent again'), failed.join('; '))
  })

  test(`the client of ${vendor} finds out that a byte of its download is another`, async () => {
    const changed = (data) => Buffer.concat([data.subarray(0, -1), Buffer.of(data.at(-1) ^ 1)])
    const failed = await through(vendor, { data: changed })
    assert.deepEqual(failed, ['the download is what was sent, piece by piece'])
  })

  test(`the client of ${vendor} finds out that its download is kept until it is whole`, async () => {
    const failed = await through(vendor, { whole: true })
    assert.equal(failed.length, 1, failed.join('; '))
  })
}
