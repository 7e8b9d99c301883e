// A Salesforce org as a process: as much of the REST API as a client needs to query page by page, create and
// retrieve contacts. Plain HTTP on the loopback interface. Prints {"port"} when it is ready.
//
// A bearer token is good if it was given with --token, or, with --introspect, if the authorization server of
// tests/parties/oauth says so. Tokens are never answered.

import http from 'node:http'
import { parseArgs } from 'node:util'

import { Refused, control, listen, onlyMembers, parseJson, readText, reply } from '../common/http.mjs'
import { ready } from '../common/life.mjs'
import { Contacts, Problem } from './contacts.mjs'

/** Records on a page of a query: Salesforce's largest. */
const PAGE_RECORDS = 2000

const VERSION = /^\/services\/data\/v(\d+\.\d+)\/(.+)$/

const { values: options } = parseArgs({
  options: {
    port: { type: 'string', default: '0' },
    records: { type: 'string', default: '4321' },
    token: { type: 'string', multiple: true, default: [] },
    introspect: { type: 'string' },
    'exit-with-stdin': { type: 'boolean', default: false },
  },
})

const contacts = new Contacts(Number(options.records))
const tokens = new Set(options.token)
const cursors = new Map()
let queries = 0
const counts = {}

const server = http.createServer((request, response) => {
  serve(request, response).catch((error) => {
    if (error instanceof Problem) return reply(response, error.status, error.body)
    if (error instanceof Refused) {
      return reply(response, error.status, [{ message: error.message, errorCode: 'JSON_PARSER_ERROR' }])
    }
    console.error(error)
    reply(response, 500, [{ message: 'the mock failed', errorCode: 'UNKNOWN_EXCEPTION' }])
  })
})
ready({ port: await listen(server, Number(options.port)) }, { withStdin: options['exit-with-stdin'] })

async function serve(request, response) {
  const url = new URL(request.url, 'http://salesforce.invalid')
  if (url.pathname.startsWith('/_control/')) return control(CONTROL, request, response)

  const [, version, rest] = VERSION.exec(url.pathname) ?? []
  if (!version) throw new Problem(404, 'NOT_FOUND', 'The requested resource does not exist')
  const [resource, ...names] = rest.split('/').map(decodeURIComponent)
  const operation = `${request.method} ${resource}`
  counts[operation] = (counts[operation] ?? 0) + 1
  if (!(await good(request.headers.authorization))) throw new Problem(401, 'INVALID_SESSION_ID', 'Session expired or invalid')

  const body = parseJson(await readText(request))
  const answer = OPERATIONS[operation]?.(names, { base: `/services/data/v${version}`, url, body })
  if (!answer) throw new Problem(405, 'METHOD_NOT_ALLOWED', `${operation} is not allowed`)
  reply(response, answer.status ?? 200, answer.value, { 'sforce-limit-info': 'api-usage=1/15000' })
}

/** From method and resource to what is answered; nothing for a path that is none. */
const OPERATIONS = {
  'GET query': ([cursor], { base, url }) => {
    const query = cursor === undefined ? opened(url.searchParams.get('q') ?? '') : cursors.get(cursor)
    if (!query) throw new Problem(400, 'INVALID_QUERY_LOCATOR', 'invalid query locator')
    return { value: page(query, base) }
  },
  'GET sobjects': ([object, id, ...more], { base, url }) => {
    if (!id || more.length > 0) return undefined
    const record = contacts.get(object, id)
    const fields = url.searchParams.get('fields')?.split(',') ?? Object.keys(record)
    return { value: { attributes: attributes(base, record), ...Object.fromEntries(fields.map((name) => [name, record[name]])) } }
  },
  'POST sobjects': ([object, ...more], { body }) => {
    if (!object || more.length > 0) return undefined
    return { status: 201, value: { id: contacts.create(object, body ?? {}), success: true, errors: [] } }
  },
}

const CONTROL = {
  'GET /_control/requests': () => counts,
  'POST /_control/tokens': (body) => {
    const { token, good: taken } = onlyMembers(body, ['token', 'good'])
    if (taken) tokens.add(token)
    else tokens.delete(token)
  },
}

function opened(soql) {
  queries += 1
  return { name: `01g${String(queries).padStart(12, '0')}AAA`, found: contacts.find(soql), from: 0 }
}

/** One page from where the cursor is; a next one is named by where it begins. */
function page({ name, found, from }, base) {
  const records = found.slice(from, from + PAGE_RECORDS)
  const end = from + records.length
  const done = end >= found.length
  const next = `${name}-${end}`
  if (!done) cursors.set(next, { name, found, from: end })
  return {
    totalSize: found.length,
    done,
    ...(done ? {} : { nextRecordsUrl: `${base}/query/${next}` }),
    records: records.map((record) => ({ attributes: attributes(base, record), ...record })),
  }
}

function attributes(base, { Id }) {
  return { type: 'Contact', ...(Id ? { url: `${base}/sobjects/Contact/${Id}` } : {}) }
}

async function good(authorization = '') {
  const token = /^Bearer (\S+)$/i.exec(authorization)?.[1]
  if (!token) return false
  if (tokens.has(token)) return true
  if (!options.introspect) return false
  const response = await fetch(`${options.introspect}/_control/introspect`, { method: 'POST', body: JSON.stringify({ token }) })
  const { active, kind } = await response.json()
  return active && kind !== 'RefreshToken'
}
