// GitHub: pages by the header `Link`, which names another path than was asked for, as the real one does; ETags; uploads to
// a host of their own, which an answer names as a template; archives as streams behind a redirect. Beyond the real one, it knows
// idempotency keys.

import { download } from './download.mjs'

const ISSUES = 95
const issues = Array.from({ length: ISSUES }, (_, index) => ({ number: index + 1, title: `Issue ${index + 1}` }))
const made = new Map()
const HERE = 'https://api.github.example'
const UPLOADS = 'https://uploads.github.example'
const REPO = '/repos/octo/hello'
const ETAG = 'W/"v1"'

export async function github({ request, response, url, body, authorized, otherRequest, reply }) {
  if (!authorized) return reply(401, { message: 'Bad credentials', documentation_url: 'https://docs.github.example' })
  const what = `${request.method} ${url.pathname}`
  if (what === `GET ${REPO}/issues` || what === 'GET /repositories/7/issues') return list(url, reply)
  if (what === `POST ${REPO}/issues`) return create(request, body, reply)
  if (what === `GET ${REPO}`) {
    if (request.headers['if-none-match'] === ETAG) return response.writeHead(304, { etag: ETAG }).end()
    return reply(200, { full_name: 'octo/hello' }, { etag: ETAG })
  }
  if (what === `GET ${REPO}/releases/1`) {
    return reply(200, { id: 1, upload_url: `${UPLOADS}${REPO}/releases/1/assets{?name,label}` })
  }
  if (what === `GET ${REPO}/tarball/main`) {
    return response.writeHead(302, { location: `${HERE}${REPO}/legacy.tar.gz/refs/heads/main` }).end()
  }
  if (what === `GET ${REPO}/legacy.tar.gz/refs/heads/main`) {
    return download(response, 'application/x-gzip', otherRequest)
  }
  return reply(404, { message: 'Not Found', documentation_url: 'https://docs.github.example' })
}

export async function uploads({ request, url, body, authorized, reply, sha256 }) {
  if (!authorized) return reply(401, { message: 'Bad credentials' })
  if (`${request.method} ${url.pathname}` !== `POST ${REPO}/releases/1/assets`) return reply(404, { message: 'Not Found' })
  return reply(201, { id: 5, name: url.searchParams.get('name'), size: body.length, label: sha256(body) })
}

function create(request, body, reply) {
  const { title } = JSON.parse(body.toString() || '{}')
  if (!title) return reply(422, { message: 'Validation Failed', errors: [{ resource: 'Issue', code: 'missing_field', field: 'title' }] })
  const key = request.headers['idempotency-key'] ?? Symbol('none')
  if (!made.has(key)) {
    made.set(key, { number: issues.length + 1, title })
    issues.push(made.get(key))
  }
  return reply(201, made.get(key), { location: `${HERE}${REPO}/issues/${made.get(key).number}` })
}

function list(url, reply) {
  const size = Number(url.searchParams.get('per_page') ?? 30)
  const page = Number(url.searchParams.get('page') ?? 1)
  const to = (number, rel) => `<${HERE}/repositories/7/issues?per_page=${size}&page=${number}>; rel="${rel}"`
  const last = Math.ceil(issues.length / size)
  const links = [page < last && to(page + 1, 'next'), page < last && to(last, 'last'), page > 1 && to(1, 'first')]
  const link = links.filter(Boolean).join(', ')
  return reply(200, issues.slice((page - 1) * size, page * size), link ? { link } : {})
}
