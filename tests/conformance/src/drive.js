// Every operation that a release declares, asked for through the host. What there is to ask comes from
// the release's own descriptor: an operation that nobody thought of here is an error, not an omission.

// Wide: the dates that Prism makes up have to lie between them, or a careful connector sees drift.
const SINCE = '2000-01-01T00:00:00Z'
const UNTIL = '2100-01-01T00:00:00Z'
// A read of a mock ends after a handful of pages; one that does not, never will.
const PAGES_MAX = 12

// The property that upserts and updates match on, and values for a write, by object.
const SAMPLES = {
  contacts: {
    match: 'email',
    ids: ['ada@example.com', 'alan@example.com'],
    data: { firstname: 'Ada', lastname: 'Lovelace' },
    modified: 'lastmodifieddate',
  },
  companies: {
    match: 'external_id',
    ids: ['ours-1', 'ours-2'],
    data: { name: 'Analytical Engines', city: 'London' },
    modified: 'hs_lastmodifieddate',
  },
}

const OPERATORS = [
  { operator: 'EQ', value: '1' },
  { operator: 'NEQ', value: '1' },
  { operator: 'LT', value: '1' },
  { operator: 'LTE', value: '1' },
  { operator: 'GT', value: '1' },
  { operator: 'GTE', value: '1' },
  { operator: 'BETWEEN', value: '1', highValue: '2' },
  { operator: 'IN', values: ['a', 'b'] },
  { operator: 'NOT_IN', values: ['a', 'b'] },
  { operator: 'HAS_PROPERTY' },
  { operator: 'NOT_HAS_PROPERTY' },
  { operator: 'CONTAINS_TOKEN', value: 'a*' },
  { operator: 'NOT_CONTAINS_TOKEN', value: 'a*' },
]

/** Drives one installation; answers a row for each operation. */
export async function drive(installation, descriptor, front) {
  const run = new Run(front)
  for (const object of Object.keys(descriptor.objects).sort()) {
    await run.step(`discover ${object}`, () => installation.discover(object))
    await reads(run, installation, object, descriptor.objects[object])
    await writes(run, installation, object, descriptor.objects[object])
  }
  await run.step('discover everything', () => installation.discover())
  for (const action of Object.keys(descriptor.actions).sort()) {
    const inputs = inputsOf(action)
    if (inputs.length === 0) run.missing(`action ${action}`, 'no input for it in drive.js')
    for (const [how, input] of inputs) {
      await run.step(`action ${action}${how}`, () => installation.invoke(action, input))
    }
  }
  return run.rows
}

class Run {
  rows = []

  constructor(front) {
    this.front = front
  }

  /** One call; `expect` says what is missing among the requests that it made. */
  async step(name, call, expect = () => undefined) {
    const before = this.front.requests.length
    const { status, body } = await call()
    const requests = this.front.requests.slice(before)
    const problems = []
    if (requests.length === 0) problems.push('sent nothing')
    const unmet = requests.length > 0 && expect(requests)
    if (unmet) problems.push(unmet)
    this.rows.push({ name, status, answer: summary(status, body), requests, problems: [...problems, ...refusals(status, body)] })
    return body
  }

  missing(name, why) {
    this.rows.push({ name, status: 0, answer: '', requests: [], problems: [why] })
  }
}

/** What the host's answer says went wrong, beyond what an odd answer of the mock explains. */
function refusals(status, body) {
  if (status >= 400) return [`the host answered ${status} ${body?.code ?? ''}: ${body?.detail ?? ''}`]
  const refused = (body?.outcomes ?? []).filter((outcome) => outcome.refused)
  return refused.map(({ reference, refused: why }) => `item ${reference}: ${why.code}: ${why.detail}`)
}

function summary(status, body) {
  if (status >= 400) return `${status} ${body?.code ?? ''}`.trim()
  if (body?.records) return `${status}, ${body.records.length} record(s)`
  if (body?.outcomes) {
    const written = body.outcomes.filter((outcome) => outcome.written).length
    return `${status}, ${written} of ${body.outcomes.length} written`
  }
  return String(status)
}

const some = (test, otherwise) => (requests) => (requests.some(test) ? undefined : otherwise)

async function reads(run, installation, object, spec) {
  if (!spec.read) return
  const first = await run.step(`read ${object}, first page`, () => installation.read(object, {}))
  const resumed = some((request) => request.query.has('after'), 'the cursor was not used')
  let page = await run.step(
    `read ${object}, next page`,
    () => installation.read(object, { fields: ['createdate'], cursor: first?.next }),
    resumed
  )
  await rest(run, installation, { name: `read ${object}`, object, request: {}, page, pages: 2, deletes: spec.read.deletes })
  if (!spec.read.incremental) return
  const bounds = { since: SINCE, until: UNTIL }
  const filtered = some(
    (request) => request.body?.filterGroups?.length > 0,
    'the bounds did not reach the provider'
  )
  page = await run.step(`read ${object}, changes`, () => installation.read(object, bounds), filtered)
  await rest(run, installation, { name: `read ${object}, changes`, object, request: bounds, page, pages: 1, deletes: spec.read.deletes })
}

/** Reads to the end; archived records have to be asked for on the way. */
async function rest(run, installation, { name, object, request, page, pages, deletes }) {
  let archived = false
  for (; page?.next !== undefined; pages += 1) {
    if (pages === PAGES_MAX) return run.missing(name, `does not end within ${PAGES_MAX} pages`)
    const { next } = page
    const before = run.front.requests.length
    page = await run.step(`${name}, page ${pages + 1}`, () => installation.read(object, { ...request, cursor: next }))
    archived ||= run.front.requests.slice(before).some((one) => one.query.get('archived') === 'true')
  }
  if (deletes && !archived) run.missing(`${name}, archived`, 'archived records were never asked for')
}

async function writes(run, installation, object, spec) {
  const sample = SAMPLES[object]
  if (!sample && spec.write.length > 0) return run.missing(`write ${object}`, 'no sample for it in drive.js')
  const items = (ids, data) =>
    [0, 1].map((at) => ({ reference: `r${at}`, ...(ids && { id: ids[at] }), data: data ? { ...sample.data, score: at } : {} }))
  const ways = {
    create: [['', undefined, items(undefined, true)]],
    update: [
      ['', undefined, items(['512', '513'], true)],
      [' by property', sample.match, items(sample.ids, true)],
    ],
    upsert: [
      ['', undefined, items(['512', '513'], true)],
      [' by property', sample.match, items(sample.ids, true)],
    ],
    delete: [['', undefined, items(['512', '513'], false)]],
  }
  for (const operation of spec.write) {
    if (!ways[operation]) run.missing(`write ${object}, ${operation}`, 'not known to drive.js')
    for (const [how, match_on, list] of ways[operation] ?? []) {
      const request = { operation, ...(match_on && { match_on }), items: list }
      await run.step(`write ${object}, ${operation}${how}`, () => installation.write(object, request))
    }
  }
}

function inputsOf(action) {
  const [object, verb] = action.split('.')
  if (action === 'account.info') return [['', {}]]
  const sample = SAMPLES[object]
  if (!sample) return []
  if (verb === 'get') {
    const properties = ['createdate', ...Object.keys(sample.data)]
    return [
      ['', { id: '512' }],
      [' by property', { id: sample.ids[0], idProperty: sample.match, properties, archived: false }],
      [', archived', { id: '512', archived: true }],
    ]
  }
  if (verb === 'search') {
    const filters = OPERATORS.map((one) => ({ propertyName: sample.modified, ...one }))
    const groups = [filters.slice(0, 5), filters.slice(5, 9), filters.slice(9)]
    const filterGroups = groups.map((group) => ({ filters: group }))
    const properties = Object.keys(sample.data)
    return [
      ['', {}],
      [', every operator', { filterGroups, sorts: ['createdate'], properties, limit: 5 }],
      [', next page', { query: 'ada', after: '5', limit: 5 }],
    ]
  }
  return []
}
