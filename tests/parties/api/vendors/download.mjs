// A file, half of which is sent only once whoever downloads it has asked for something else. Whoever waits for all of an
// answer before any of it goes on waits in vain.

import { PIECES, piece } from '../../common/bytes.mjs'

export async function download(response, type, otherRequest) {
  const asked = otherRequest()
  response.writeHead(200, { 'content-type': type })
  for (let index = 0; index < PIECES; index += 1) {
    if (index === PIECES / 2) await asked
    response.write(piece(index))
  }
  response.end()
}
