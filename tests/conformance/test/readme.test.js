// The count in README.md: a run writes it, and another finds out when it is no longer true.

import assert from 'node:assert/strict'
import { test } from 'node:test'

import { difference, recorded } from '../src/readme.js'

const FOUND = { covered: 30, all: 123, undocumented: ['account.info'], documents: 'sha256:00' }
const EMPTY = 'before\n\n<!-- conformance none -->\n<!-- /conformance -->\n\nafter\n'

test('what is recorded is found again, and stays the same', () => {
  const readme = recorded(EMPTY, FOUND)
  assert.match(readme, /^before\n\n<!-- conformance sha256:00 -->\nConformance: /)
  assert.match(readme, /<!-- \/conformance -->\n\nafter\n$/)
  assert.deepEqual(difference(readme, FOUND), {})
  assert.equal(recorded(readme, FOUND), readme)
  assert.ok(readme.split('\n').every((line) => line.length <= 120))
})

test('it says what no document covers', () => {
  assert.match(recorded(EMPTY, FOUND), /Not among them: `account\.info`\./)
  assert.doesNotMatch(recorded(EMPTY, { ...FOUND, undocumented: [] }), /Not among/)
})

test('another count, or another exception, is wrong', () => {
  const readme = recorded(EMPTY, FOUND)
  for (const other of [{ covered: 29 }, { all: 124 }, { undocumented: [] }]) {
    assert.match(difference(readme, { ...FOUND, ...other }).wrong, /does not say what this run found/)
  }
  const typed = readme.replace('30', '31')
  assert.match(difference(typed, FOUND).wrong, /30 of 123/)
  assert.ok(difference('no section', FOUND).wrong)
  assert.throws(() => recorded('no section', FOUND), /no section/)
})

test('of other documents it says nothing', () => {
  const { wrong, note } = difference(recorded(EMPTY, FOUND), { ...FOUND, all: 9, documents: 'sha256:11' })
  assert.equal(wrong, undefined)
  assert.match(note, /other documents/)
})
