// The mocks of vendors find every token of the host that reaches them, and take nothing else for one.

import assert from 'node:assert/strict'
import { test } from 'node:test'

import { start, toControl } from './support.mjs'

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
