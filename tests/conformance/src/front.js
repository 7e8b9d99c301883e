// The front: takes the vendor's place, hands each request to the Prism of its document, and keeps count.

import http from 'node:http'

import { adapt } from './adapt.js'
import { unnamed } from './documents.js'
import { violations } from './prism.js'

// Part of the vendor's API, and in none of the documents that it publishes with the CRM's.
const UNDOCUMENTED = '/account-info/'
const ACCOUNT = {
  portalId: 512,
  accountType: 'STANDARD',
  timeZone: 'US/Eastern',
  companyCurrency: 'USD',
  additionalCurrencies: [],
  utcOffset: '-05:00',
  utcOffsetMilliseconds: -18000000,
  uiDomain: 'app.hubspot.com',
  dataHostingLocation: 'na1',
}
const BODY_BYTES_MAX = 8 * 1024 * 1024

/**
 * What became of a request.
 * `accepted`: fits its operation. `rejected`: does not; `complaints` say why. `unmatched`: no operation
 * is at its path. `undocumented`: of the part that has no document. `unanswered`: Prism failed by itself.
 */
export class Front {
  requests = []

  constructor(routes, addresses) {
    this.routes = routes
    this.addresses = addresses
    this.agent = new http.Agent({ keepAlive: true })
    this.server = http.createServer((request, response) => {
      this.#serve(request, response).catch((error) => {
        reply(response, 500, { status: 'error', category: 'FRONT', message: String(error) })
      })
    })
  }

  async listen() {
    await new Promise((resolve, reject) => {
      this.server.once('error', reject)
      this.server.listen(0, '127.0.0.1', resolve)
    })
    return `http://127.0.0.1:${this.server.address().port}`
  }

  async close() {
    this.agent.destroy()
    this.server.closeAllConnections()
    await new Promise((resolve) => this.server.close(resolve))
  }

  async #serve(request, response) {
    const url = new URL(request.url, 'http://front.invalid')
    const { method } = request
    const bytes = await read(request)
    const query = url.searchParams
    const note = { method, path: url.pathname, query, complaints: [] }
    this.requests.push(note)
    const finish = (outcome, status, answer) => {
      Object.assign(note, { outcome, status })
      reply(response, status, answer)
    }

    const found = this.routes.find(request.headers.host, method, url.pathname)
    if (!found) {
      if (url.pathname.startsWith(UNDOCUMENTED)) return finish('undocumented', 200, ACCOUNT)
      const message = 'no such operation in the documents'
      note.complaints.push(`${message}: ${request.headers.host} ${method} ${url.pathname}`)
      return finish('unmatched', 404, { status: 'error', category: 'OBJECT_NOT_FOUND', message })
    }
    note.operation = found.operation
    const body = parsed(request, bytes)
    note.body = body
    const prism = await this.#ask(request, found, url.search, bytes)
    note.complaints = [...violations(prism), ...unnamed(found.operation, query, body)]
    if (note.complaints.length > 0) {
      const message = note.complaints.join('; ')
      return finish('rejected', 400, { status: 'error', category: 'VALIDATION_ERROR', message })
    }
    if (prism.status >= 400) {
      note.complaints.push(`Prism answered ${prism.status}: ${prism.text.slice(0, 300)}`)
      return finish('unanswered', 502, { status: 'error', category: 'MOCK', message: prism.text })
    }
    const answer = prism.text === '' ? undefined : adapt({ query, body }, JSON.parse(prism.text))
    return finish('accepted', prism.status, answer)
  }

  #ask(request, found, search, bytes) {
    const { host, connection, 'accept-encoding': _, 'transfer-encoding': __, ...headers } = request.headers
    if (bytes.length > 0) headers['content-length'] = String(bytes.length)
    const address = this.addresses.get(found.operation.file)
    const { agent } = this
    return new Promise((resolve, reject) => {
      const asked = http.request(`${address}${found.path}${search}`, { method: request.method, headers, agent })
      asked.once('error', reject)
      asked.once('response', (response) => {
        read(response).then(
          (answer) => resolve({ status: response.statusCode, headers: response.headers, text: answer.toString() }),
          reject
        )
      })
      asked.end(bytes)
    })
  }
}

async function read(stream) {
  const chunks = []
  let length = 0
  for await (const chunk of stream) {
    length += chunk.length
    if (length > BODY_BYTES_MAX) throw new Error('body too large')
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}

/** A JSON body; what is none is left to Prism to refuse. */
function parsed(request, bytes) {
  if (bytes.length === 0 || !request.headers['content-type']?.startsWith('application/json')) return undefined
  try {
    return JSON.parse(bytes.toString())
  } catch {
    return undefined
  }
}

function reply(response, status, answer) {
  const text = answer === undefined ? '' : JSON.stringify(answer)
  const headers = text === '' ? {} : { 'content-type': 'application/json' }
  response.writeHead(status, { ...headers, 'content-length': Buffer.byteLength(text) }).end(text)
}
