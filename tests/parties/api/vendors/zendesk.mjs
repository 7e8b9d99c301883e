// Zendesk: pages by `next_page` and by `links.next`, both absolute and, as Rails writes them, with escaped ampersands;
// binary uploads; attachments behind an address that an answer names, outside of the API.

import { download } from './download.mjs'

const USERS = 250
const users = Array.from({ length: USERS }, (_, index) => ({ id: index + 1, name: `User ${index + 1}` }))
const made = new Map()
const ETAG = 'W/"user 1 as it is"'
const HERE = 'https://acme.zendesk.example'

export async function zendesk({ request, response, url, body, authorized, otherRequest, reply, sha256 }) {
  if (!authorized) return reply(401, { error: "Couldn't authenticate you" })
  const what = `${request.method} ${url.pathname.replace(/\.json$/, '')}`
  if (what === 'GET /api/v2/users') return pages(response, url)
  if (what === 'GET /api/v2/tickets') return cursors(reply, url)
  if (what === 'GET /api/v2/users/1') {
    if (request.headers['if-none-match'] === ETAG) return response.writeHead(304, { etag: ETAG }).end()
    return reply(200, { user: users[0] }, { etag: ETAG })
  }
  if (what === 'POST /api/v2/users') return create(request, body, reply)
  if (what === 'GET /api/v2/attachments/7') {
    return reply(200, { attachment: { id: 7, file_name: 'a.bin', content_url: `${HERE}/attachments/token/k3y/?name=a.bin` } })
  }
  if (what === 'GET /attachments/token/k3y/' && url.search === '?name=a.bin') {
    return download(response, 'application/octet-stream', otherRequest)
  }
  if (what === 'POST /api/v2/uploads') {
    return reply(201, { upload: { token: sha256(body), filename: url.searchParams.get('filename'), attachments: [] } })
  }
  return reply(404, { error: 'RecordNotFound', description: 'Not found' })
}

function create(request, body, reply) {
  const { user } = JSON.parse(body.toString())
  if (!user?.name) {
    const details = { name: [{ description: 'Name: cannot be blank', error: 'BlankValue' }] }
    return reply(422, { error: 'RecordInvalid', description: 'Record validation errors', details })
  }
  const key = request.headers['idempotency-key'] ?? Symbol('none')
  if (!made.has(key)) {
    made.set(key, { ...user, id: users.length + 1 })
    users.push(made.get(key))
  }
  return reply(201, { user: made.get(key) }, { location: `${HERE}/api/v2/users/${made.get(key).id}.json` })
}

function pages(response, url) {
  const page = Number(url.searchParams.get('page') ?? 1)
  const next = page * 100 < users.length ? `${HERE}/api/v2/users.json?page=${page + 1}&per_page=100` : null
  const value = { users: users.slice((page - 1) * 100, page * 100), next_page: next, previous_page: null, count: users.length }
  const text = JSON.stringify(value).replaceAll('&', '\\u0026')
  // In pieces, the cut in the middle of the link.
  response.writeHead(200, { 'content-type': 'application/json; charset=utf-8', 'content-length': Buffer.byteLength(text) })
  const cut = text.indexOf('zendesk.example')
  response.write(text.slice(0, cut))
  setTimeout(() => response.end(text.slice(cut)), 5)
}

function cursors(reply, url) {
  const from = Number(url.searchParams.get('page[after]') ?? 0)
  const tickets = Array.from({ length: Math.min(100, 150 - from) }, (_, index) => ({ id: from + index + 1 }))
  const more = from + 100 < 150
  const next = more ? `${HERE}/api/v2/tickets.json?page[after]=${from + 100}&page[size]=100` : null
  return reply(200, { tickets, meta: { has_more: more }, links: { next, prev: null } })
}
