// OpenAPI documents: read, tidied for Prism, and searched for the operation that a request is of.
//
// Whether a request fits its operation is Prism's business, except for what OpenAPI leaves open and a
// connector should still not send: parameters and members that the document does not name.

import { createHash } from 'node:crypto'
import { readFile, readdir } from 'node:fs/promises'
import path from 'node:path'

const METHODS = ['get', 'put', 'post', 'delete', 'options', 'head', 'patch', 'trace']

/** Every document of a folder, in order of file name. */
export async function load(folder) {
  const files = (await readdir(folder)).filter((name) => name.endsWith('.json')).sort()
  if (files.length === 0) throw new Error(`no *.json in ${folder}`)
  return Promise.all(
    files.map(async (file) => {
      const text = await readFile(path.join(folder, file), 'utf8')
      const document = withoutExamples(JSON.parse(text))
      if (!document.openapi || !document.paths) throw new Error(`${file} is no OpenAPI document`)
      return { file, text, document, operations: operations(file, document) }
    })
  )
}

/** SHA-256 over the names and bytes of the documents: whether another run had the same. */
export function fingerprint(documents) {
  const hash = createHash('sha256')
  for (const { file, text } of documents) hash.update(`${file}\0${text.length}\0${text}`)
  return `sha256:${hash.digest('hex')}`
}

// Keys below which every key is a name, not a keyword.
const NAMED = new Set(['properties', 'schemas', 'responses', 'parameters', 'paths'])

// The vendor's documents state `"example": null` nearly everywhere, which Prism answers, and examples that
// lack members which their own schema requires. Without them Prism answers from the schemas alone.
function withoutExamples(node, named = false) {
  if (Array.isArray(node)) return node.map((one) => withoutExamples(one))
  if (node === null || typeof node !== 'object') return node
  const kept = Object.entries(node).filter(([key]) => named || (key !== 'example' && key !== 'examples'))
  return Object.fromEntries(kept.map(([key, value]) => [key, withoutExamples(value, !named && NAMED.has(key))]))
}

function operations(file, document) {
  const found = []
  const servers = (document.servers ?? []).map((server) => new URL(server.url))
  for (const [template, item] of Object.entries(document.paths)) {
    for (const method of METHODS.filter((method) => item[method])) {
      const operation = item[method]
      const parameters = [...(item.parameters ?? []), ...(operation.parameters ?? [])]
      const named = parameters.map((parameter) => resolve(document, parameter))
      const body = resolve(document, operation.requestBody ?? {})
      found.push({
        id: operation.operationId ?? `${method} ${template}`,
        file,
        method: method.toUpperCase(),
        template,
        segments: template.split('/').slice(1),
        servers,
        document,
        query: new Set(named.filter((one) => one.in === 'query').map((one) => one.name)),
        schema: body.content?.['application/json']?.schema,
      })
    }
  }
  return found
}

function resolve(document, node) {
  if (!node.$ref) return node
  const steps = node.$ref.replace(/^#\//, '').split('/')
  const target = steps.reduce((at, step) => at?.[step.replace(/~1/g, '/').replace(/~0/g, '~')], document)
  if (!target) throw new Error(`${node.$ref} leads nowhere`)
  return resolve(document, target)
}

/** Finds the operation of a request: right server, right method, most literal template first. */
export class Routes {
  constructor(documents) {
    this.operations = documents.flatMap((one) => one.operations).sort(bySpecificity)
  }

  find(host, method, pathname) {
    for (const operation of this.operations) {
      if (operation.method !== method) continue
      for (const server of operation.servers) {
        const base = server.pathname.replace(/\/$/, '')
        if (server.host !== host || !pathname.startsWith(`${base}/`)) continue
        const rest = pathname.slice(base.length)
        if (fits(operation.segments, rest.split('/').slice(1))) return { operation, path: rest }
      }
    }
    return undefined
  }
}

function isVariable(segment) {
  return segment.startsWith('{') && segment.endsWith('}')
}

function fits(template, segments) {
  if (template.length !== segments.length) return false
  return template.every((one, at) => (isVariable(one) ? segments[at] !== '' : one === segments[at]))
}

// Literal before variable, the first difference decides; equal ones by name, so that it never varies.
function bySpecificity(a, b) {
  const length = Math.min(a.segments.length, b.segments.length)
  for (let at = 0; at < length; at += 1) {
    const difference = Number(isVariable(a.segments[at])) - Number(isVariable(b.segments[at]))
    if (difference !== 0) return difference
  }
  return `${a.template} ${a.file}`.localeCompare(`${b.template} ${b.file}`, 'en')
}

/** What a request has that its operation does not name, as complaints. */
export function unnamed(operation, query, body) {
  const complaints = [...new Set(query.keys())]
    .filter((name) => !operation.query.has(name))
    .map((name) => `query parameter ${name} is not in the document`)
  if (operation.schema && body !== undefined) {
    members(operation.document, operation.schema, body, 'body', complaints)
  }
  return complaints
}

function members(document, node, value, at, complaints) {
  const schema = resolve(document, node)
  if (Array.isArray(value)) {
    if (schema.items) value.forEach((one, index) => members(document, schema.items, one, `${at}[${index}]`, complaints))
    return
  }
  if (value === null || typeof value !== 'object' || !schema.properties) return
  for (const [name, member] of Object.entries(value)) {
    const known = schema.properties[name]
    if (known) members(document, known, member, `${at}.${name}`, complaints)
    else if (!schema.additionalProperties) complaints.push(`${at}.${name} is not in the document`)
  }
}
