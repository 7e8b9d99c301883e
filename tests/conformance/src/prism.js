// Prism: one process a document, validating requests against it.
//
// Static answers, made from the schemas: the same every time, where `--dynamic` ones are not.

import { createRequire } from 'node:module'
import { writeFile } from 'node:fs/promises'
import path from 'node:path'

const program = createRequire(import.meta.url).resolve('@stoplight/prism-cli/dist/index.js')
// A start is mostly compiling JavaScript: more at once only makes each of them late.
const STARTS_AT_ONCE = 3

/**
 * Starts Prism for every document; answers the address of each by file name. With an upstream, Prism hands
 * requests on to it and checks its answers too.
 */
export async function startAll(children, documents, folder, upstream) {
  const addresses = new Map()
  const waiting = [...documents]
  const worker = async () => {
    for (let one = waiting.shift(); one; one = waiting.shift()) {
      const file = path.join(folder, one.file)
      await writeFile(file, JSON.stringify(one.document))
      const mode = upstream ? ['proxy', file, upstream] : ['mock', file]
      const args = [program, ...mode, '--errors', '--host', '127.0.0.1', '--port', '0']
      const ready = (line) => /listening on (http:\/\/127\.0\.0\.1:\d+)/.exec(line)?.[1]
      addresses.set(one.file, await children.start(`Prism for ${one.file}`, process.execPath, args, { ready }))
    }
  }
  await Promise.all(Array.from({ length: STARTS_AT_ONCE }, worker))
  return addresses
}

/**
 * What Prism holds against a request. It says so in a header where the document has an answer for errors,
 * and in a problem document where it has none. Its complaints about its own answers are not the request's.
 */
export function violations({ status, headers, text }) {
  const said = headers['sl-violations']
  if (said) {
    return JSON.parse(said)
      .filter((one) => one.severity === 'Error' && one.location?.[0] === 'request')
      .map((one) => `${one.location.slice(1).join('.') || 'request'}: ${one.message}`)
  }
  if (status < 400 || status > 499 || !headers['content-type']?.includes('problem+json')) return []
  const { title, validation = [] } = JSON.parse(text)
  if (validation.length === 0) return [title]
  return validation.map((one) => `${one.location?.join('.') ?? 'request'}: ${one.message}`)
}
