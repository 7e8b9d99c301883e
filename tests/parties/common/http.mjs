// Small pieces of an HTTP server on the loopback interface, and of the control endpoints that parties have beside
// what they play: listening, reading a body, answering JSON.

import http from 'node:http'

const BODY_BYTES_MAX = 16 * 1024 * 1024

/** A request that is not served: its status, and why. */
export class Refused extends Error {
  constructor(status, why) {
    super(why)
    this.status = status
  }
}

/** Listens on 127.0.0.1; port 0 picks a free one. Answers the port. */
export async function listen(server, port = 0) {
  await new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, '127.0.0.1', resolve)
  })
  return server.address().port
}

/** The whole body as text. */
export async function readText(request) {
  const chunks = []
  let bytes = 0
  for await (const chunk of request) {
    bytes += chunk.length
    if (bytes > BODY_BYTES_MAX) throw new Refused(413, `a body has at most ${BODY_BYTES_MAX} bytes`)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString('utf8')
}

/** Parses a body that must be JSON; none at all is undefined. */
export function parseJson(text) {
  if (text === '') return undefined
  try {
    return JSON.parse(text)
  } catch {
    throw new Refused(400, 'the body is not JSON')
  }
}

/** Refuses members that nothing would look at: a misspelt one must not look like a test that passes. */
export function onlyMembers(value, names) {
  if (value === null || typeof value !== 'object' || Array.isArray(value)) throw new Refused(400, 'the body is not an object')
  const unknown = Object.keys(value).filter((name) => !names.includes(name))
  if (unknown.length > 0) throw new Refused(400, `unknown: ${unknown.join(', ')}`)
  return value
}

/** Answers JSON. */
export function reply(response, status, value, headers = {}) {
  const text = value === undefined ? '' : JSON.stringify(value)
  response.writeHead(status, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text), ...headers })
  response.end(text)
}

/** A server of `routes`, from `METHOD /path` to what answers a parsed body. No answer is 204. */
export function controlServer(routes) {
  return http.createServer((request, response) => {
    control(routes, request, response).catch((error) => {
      if (!(error instanceof Refused)) console.error(error)
      reply(response, error.status ?? 500, { error: error.message })
    })
  })
}

/** Serves one request of a control endpoint. */
export async function control(routes, request, response) {
  const { pathname } = new URL(request.url, 'http://party.invalid')
  const route = routes[`${request.method} ${pathname}`]
  if (!route) throw new Refused(404, `no ${request.method} ${pathname} here`)
  const answer = await route(parseJson(await readText(request)))
  reply(response, answer === undefined ? 204 : 200, answer)
}
