// The run: documents, Prisms, front, host, both lines, report. Exits 0 only if nothing is wrong, the count in
// README.md included; with --record, that count is written instead of compared.

import { readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'

import { Routes, fingerprint, load } from './documents.js'
import { drive } from './drive.js'
import { Front } from './front.js'
import { startHost } from './keyway.js'
import { startAll } from './prism.js'
import { difference, recorded } from './readme.js'
import { report } from './report.js'
import { ROOT, TARGET, need, run } from './run.js'

const BINARY = process.env.KEYWAY_BIN ?? path.join(TARGET, 'debug/keyway')
const COMPONENTS = ['hubspot_1.wasm', 'hubspot_2.wasm'].map((name) =>
  path.join(ROOT, 'connectors/target/wasm32-wasip2/release', name)
)
const README = path.join(ROOT, 'README.md')
const LOG_LINES_SHOWN = 15

async function main({ documentFolder, record }, children, folder) {
  need(BINARY, 'cargo build -p keyway')
  for (const component of COMPONENTS) need(component, 'script/guests')
  const documents = await load(documentFolder)
  console.log(`conformance: starting Prism for ${documents.length} documents`)
  const front = new Front(new Routes(documents), await startAll(children, documents, folder))
  const log = []
  try {
    const address = await front.listen()
    console.log('conformance: starting the host')
    const keyway = await startHost(children, BINARY, folder, address, log)
    const lines = []
    for (const component of COMPONENTS) lines.push(await line(keyway, component, front))
    console.log('')
    const found = report(lines, documents)
    if (!found.passed) {
      showLog(log)
      return false
    }
    return await counted(record, { ...found, documents: fingerprint(documents) })
  } catch (error) {
    showLog(log)
    throw error
  } finally {
    await children.stop()
    await front.close()
  }
}

/** Holds README.md against what was found, or writes it. */
async function counted(record, found) {
  const readme = await readFile(README, 'utf8')
  if (record) {
    await writeFile(README, recorded(readme, found))
    console.log('README.md has the count of this run')
    return true
  }
  const { wrong, note } = difference(readme, found)
  if (note) console.log(note)
  if (wrong) console.error(wrong)
  return !wrong
}

/** Publishes one line of the connector, gives it a tenant, and drives it. */
async function line(keyway, component, front) {
  const published = must('publish', await keyway.publish(await readFile(component)))
  const { connector, version, digest } = published.release
  const installation = keyway.installation(`conformance-${version}`, connector)
  must('pin', await installation.pin(digest))
  for (const slot of Object.keys(published.descriptor.slots)) {
    must('connect', await installation.connect(slot, `conformance-${version}`))
  }
  console.log(`conformance: driving ${connector}@${version}`)
  return { line: `${version.split('.')[0]}.x`, rows: await drive(installation, published.descriptor, front) }
}

function must(what, { status, body }) {
  if (status >= 300) throw new Error(`${what}: ${status} ${JSON.stringify(body)}`)
  return body
}

function showLog(log) {
  if (log.length === 0) return
  console.error('\nlast lines of the host:')
  for (const one of log.slice(-LOG_LINES_SHOWN)) console.error(`  ${one}`)
}

const record = process.argv[2] === '--record'
const documentFolder = process.argv.at(-1)
run((children, folder) => main({ documentFolder, record }, children, folder))
