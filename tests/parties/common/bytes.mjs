// Files that tests send and download: the same bytes in every run, so that nothing is found in them by chance, and no two
// pieces alike.

import { createHash } from 'node:crypto'

export const PIECES = 64
const PIECE_BYTES = 64 * 1024

/** Bytes without any order to them. */
export const bytesOf = (name, length) => createHash('shake256', { outputLength: length }).update(name).digest()

/** One of the pieces of the file that every vendor has for downloading. */
export const piece = (index) => bytesOf(`piece ${index}`, PIECE_BYTES)

export const sha256 = (bytes) => createHash('sha256').update(bytes).digest('hex')

/** The hash of that file, and how long it is. */
export function file() {
  const hash = createHash('sha256')
  for (let index = 0; index < PIECES; index += 1) hash.update(piece(index))
  return { hash: hash.digest('hex'), bytes: PIECES * PIECE_BYTES }
}

/** Reads a stream to its end. With its first piece in hand `meanwhile` is done, whatever else there is to come. */
export async function read(stream, meanwhile) {
  const hash = createHash('sha256')
  let bytes = 0
  for await (const data of stream) {
    if (bytes === 0) await meanwhile()
    hash.update(data)
    bytes += data.length
  }
  return { hash: hash.digest('hex'), bytes }
}
