// The lock file says what is installed, never from where: whoever installs chooses the registry.

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'

test('the lock file has hashes and no registry', () => {
  const { packages } = JSON.parse(readFileSync(new URL('../package-lock.json', import.meta.url), 'utf8'))
  const entries = Object.entries(packages).filter(([name]) => name !== '')
  assert.ok(entries.length > 100)
  assert.deepEqual(entries.filter(([, { integrity }]) => !integrity?.startsWith('sha512-')).map(([name]) => name), [])
  const elsewhere = ({ resolved }) => resolved !== undefined
  assert.deepEqual(entries.filter(([, entry]) => elsewhere(entry)).map(([name]) => name), [])
})
