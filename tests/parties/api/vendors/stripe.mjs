// Stripe: cursors by id, idempotency keys, an `error` member that says what kind of error it is, multipart uploads, PDFs
// as streams.

import { download } from './download.mjs'

const CUSTOMERS = 230
const customers = Array.from({ length: CUSTOMERS }, (_, index) => ({ id: `cus_${index + 1}`, object: 'customer', email: `c${index + 1}@example.com` }))
const made = new Map()
const ETAG = '"cus_1 as it is"'

const failed = (reply, status, type, code, message) => reply(status, { error: { type, code, message } }, { 'request-id': 'req_1' })

export async function stripe({ request, response, url, body, authorized, otherRequest, reply, sha256 }) {
  if (!authorized) return failed(reply, 401, 'invalid_request_error', undefined, 'Invalid API Key provided')
  const what = `${request.method} ${url.pathname}`
  if (what === 'GET /v1/customers') return list(url, reply)
  if (what === 'POST /v1/customers') return create(request, body, reply)
  if (what === 'GET /v1/customers/cus_1') {
    if (request.headers['if-none-match'] === ETAG) return response.writeHead(304, { etag: ETAG }).end()
    return reply(200, customers[0], { etag: ETAG })
  }
  if (what === 'GET /v1/customers/cus_none') {
    return failed(reply, 404, 'invalid_request_error', 'resource_missing', "No such customer: 'cus_none'")
  }
  if (what === 'POST /v1/charges') return failed(reply, 402, 'card_error', 'card_declined', 'Your card was declined.')
  if (what === 'POST /v1/files') {
    const { filename, data } = filePart(request.headers['content-type'], body)
    return reply(200, { id: 'file_1', object: 'file', filename, size: data.length, title: sha256(data) })
  }
  if (what === 'GET /v1/quotes/qt_1/pdf') {
    return download(response, 'application/pdf', otherRequest)
  }
  return failed(reply, 404, 'invalid_request_error', undefined, `Unrecognized request URL (${what})`)
}

/** The part of a form that is a file (RFC 7578). */
function filePart(type, body) {
  const boundary = `--${/^multipart\/form-data; *boundary="?([^";]+)/.exec(type)?.[1]}`
  const [name] = /filename="[^"]*"/.exec(body.toString('latin1')) ?? ['filename=""']
  const begin = body.indexOf('\r\n\r\n', body.indexOf(name)) + 4
  return { filename: name.slice(10, -1), data: body.subarray(begin, body.indexOf(`\r\n${boundary}`, begin)) }
}

function list(url, reply) {
  const limit = Number(url.searchParams.get('limit') ?? 10)
  const after = url.searchParams.get('starting_after')
  const from = after ? customers.findIndex(({ id }) => id === after) + 1 : 0
  const data = customers.slice(from, from + limit)
  return reply(200, { object: 'list', url: '/v1/customers', has_more: from + limit < customers.length, data })
}

function create(request, body, reply) {
  const key = request.headers['idempotency-key']
  if (!key) return failed(reply, 400, 'idempotency_error', undefined, 'a key is needed')
  const replayed = made.has(key)
  if (!replayed) {
    const email = new URLSearchParams(body.toString()).get('email')
    made.set(key, { id: `cus_${customers.length + 1}`, object: 'customer', email })
    customers.push(made.get(key))
  }
  return reply(200, made.get(key), replayed ? { 'idempotent-replayed': 'true' } : {})
}
