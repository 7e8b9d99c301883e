// What every program here needs: a folder and children that are gone afterwards, and an exit code.

import { existsSync, rmSync } from 'node:fs'
import { mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

import { Children } from './children.js'

export const ROOT = fileURLToPath(new URL('../../../', import.meta.url))
export const TARGET = path.resolve(ROOT, process.env.CARGO_TARGET_DIR ?? 'target')

const INTERRUPTED = 130

/** Runs a program that answers whether all is well. */
export async function run(program) {
  const children = new Children()
  const folder = await mkdtemp(path.join(tmpdir(), 'keyway-conformance-'))
  process.once('exit', () => {
    children.kill()
    rmSync(folder, { recursive: true, force: true })
  })
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.once(signal, () => process.exit(INTERRUPTED))
  try {
    process.exitCode = (await program(children, folder)) ? 0 : 1
  } catch (error) {
    console.error(`conformance: ${error.message}`)
    process.exitCode = 1
  } finally {
    await children.stop()
  }
}

/** Says how to make a file that is missing. */
export function need(file, how) {
  if (!existsSync(file)) throw new Error(`${path.relative(ROOT, file)} is missing; make it with: ${how}`)
}
