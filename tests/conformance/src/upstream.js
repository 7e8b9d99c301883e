// Holds the mock upstream against the vendor's documents: Prism stands between, and checks the requests
// and the answers. So what tests and the demo talk to answers as the vendor says that it does.

import path from 'node:path'

import { Routes, load } from './documents.js'
import { startAll } from './prism.js'
import { TARGET, need, run } from './run.js'

const BINARY = process.env.UPSTREAM_BIN ?? path.join(TARGET, 'debug/hubspot-upstream')
// An account each: they share their data otherwise, and what one archives the other would miss.
const GENERATIONS = [
  { token: 'v3', objects: '/crm/v3/objects', properties: '/crm/v3/properties' },
  { token: 'dated', objects: '/crm/objects/2026-03', properties: '/crm/properties/2026-03' },
]
const FIRST = { contacts: 1001, companies: 500001 }

run(async (children, folder) => {
  need(BINARY, 'cargo build -p hubspot-upstream')
  const ready = (line) => /listening on (http:\/\/127\.0\.0\.1:\d+)/.exec(line)?.[1]
  const args = ['--records', '20', ...GENERATIONS.flatMap(({ token }) => ['--token', token])]
  const upstream = await children.start('hubspot-upstream', BINARY, args, { ready })
  const documents = await load(process.argv[2])
  const routes = new Routes(documents)
  const used = documents.filter(({ document }) => Object.keys(document.paths).some((one) => one.startsWith('/crm/')))
  console.log(`conformance: starting Prism for ${used.length} documents`)
  const addresses = await startAll(children, used, folder, upstream)
  const asked = []
  for (const { token, objects, properties } of GENERATIONS) {
    for (const object of Object.keys(FIRST)) {
      for (const request of requests(objects, properties, object)) {
        asked.push(await ask(routes, addresses, token, request))
      }
    }
  }
  const wrong = asked.filter(({ wrong }) => wrong.length > 0)
  for (const one of wrong) console.log(`wrong: ${one.method} ${one.target}: ${one.status}: ${one.wrong.join('; ')}`)
  const operations = new Set(asked.map(({ operation }) => operation)).size
  console.log(`${wrong.length === 0 ? 'conforms' : 'DOES NOT CONFORM'}: ${asked.length} answers of ${operations} operations`)
  return wrong.length === 0 && asked.length > 0
})

/** Requests, each with the status that it must be answered with, and what Prism must hold against the answer. */
function requests(objects, properties, object) {
  const at = `${objects}/${object}`
  const first = FIRST[object]
  const ours = `${objects}${object}`
  const tier = (value, rest) => ({ properties: { tier: value }, ...rest })
  const bare = { filterGroups: [], sorts: [], properties: ['tier'], limit: 5, after: '0' }
  return [
    [200, 'GET', `${at}?limit=5&properties=tier`],
    [200, 'GET', `${at}?archived=true&limit=100`],
    [400, 'GET', `${at}?limit=101`],
    [200, 'GET', `${at}/${first}`],
    [404, 'GET', `${at}/9`],
    [201, 'POST', at, { properties: { external_id: ours, tier: 'gold' }, associations: [] }],
    [400, 'POST', at, tier('tin', { associations: [] })],
    [200, 'PATCH', `${at}/${first}`, tier('gold')],
    [204, 'DELETE', `${at}/${first + 1}`],
    [200, 'POST', `${at}/search`, bare],
    [400, 'POST', `${at}/search`, { ...bare, limit: 201 }],
    [200, 'POST', `${at}/batch/read`, { inputs: [{ id: `${first}` }], properties: ['tier'], propertiesWithHistory: [] }],
    [207, 'POST', `${at}/batch/read`, { inputs: [{ id: `${first}` }, { id: '9' }], properties: [], propertiesWithHistory: [] }],
    [201, 'POST', `${at}/batch/create`, { inputs: [tier('gold', { associations: [] })] }],
    [
      207,
      'POST',
      `${at}/batch/create`,
      { inputs: ['gold', 'tin'].map((value) => tier(value, { associations: [], objectWriteTraceId: value })) },
    ],
    [200, 'POST', `${at}/batch/update`, { inputs: [tier('gold', { id: `${first}` })] }],
    [207, 'POST', `${at}/batch/update`, { inputs: [tier('gold', { id: `${first}` }), tier('gold', { id: '9' })] }],
    [200, 'POST', `${at}/batch/upsert`, { inputs: [tier('gold', { id: ours, idProperty: 'external_id' })] }],
    [204, 'POST', `${at}/batch/archive`, { inputs: [{ id: `${first}` }] }],
    [200, 'GET', `${properties}/${object}`],
    [200, 'GET', `${properties}/${object}/tier`],
    // The service answers null where the documents allow text only, and so does the mock. That Prism
    // objects also shows that it looks.
    [200, 'GET', `${at}/${first + 7}?properties=renewal_date`, undefined, /renewal_date must be string/],
  ].map(([status, method, target, body, objection]) => ({ status, method, target, body, objection }))
}

async function ask(routes, addresses, token, { status, method, target, body, objection }) {
  const found = routes.find('api.hubapi.com', method, target.split('?')[0])
  if (!found) return { method, target, wrong: ['no such operation in the documents'] }
  const headers = { authorization: `Bearer ${token}`, ...(body && { 'content-type': 'application/json' }) }
  const address = addresses.get(found.operation.file)
  const response = await fetch(address + target, { method, headers, body: body && JSON.stringify(body) })
  await response.arrayBuffer()
  const said = JSON.parse(response.headers.get('sl-violations') ?? '[]').filter((one) => one.severity === 'Error')
  const wrong = said.map((one) => `${one.location.join('.')}: ${one.message}`)
  if (objection) {
    const expected = wrong.length === 1 && objection.test(wrong[0])
    return { method, target, operation: found.operation, wrong: expected ? [] : [`expected one objection ${objection}, not: ${wrong}`] }
  }
  if (response.status !== status) wrong.push(`expected ${status}`)
  return { method, target, operation: found.operation, status: response.status, wrong }
}
