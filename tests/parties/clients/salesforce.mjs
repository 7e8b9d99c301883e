// jsforce, unmodified, against any instance URL: queries contacts page by page, creates one, and reads the new one back.
// Prints a summary as JSON; exit code 0 only if everything held.

import { parseArgs } from 'node:util'

import jsforce from 'jsforce'

import { summarize } from '../common/summary.mjs'

const RECORDS_MAX = 1_000_000

const { values: options } = parseArgs({
  options: {
    'instance-url': { type: 'string' },
    token: { type: 'string' },
    version: { type: 'string', default: '62.0' },
    mark: { type: 'string', default: 'parties' },
  },
})
if (!options['instance-url'] || !options.token) throw new Error('--instance-url URL and --token TOKEN are needed')

await summarize(async (holds) => {
  const { 'instance-url': instanceUrl, token: accessToken, version } = options
  const connection = new jsforce.Connection({ instanceUrl, accessToken, version })
  const soql = 'SELECT Id, Email FROM Contact'

  const first = await connection.query(soql, { autoFetch: false })
  holds('the first page is not the last', first.done === false && Boolean(first.nextRecordsUrl))
  const seen = new Set(first.records.map(({ Id }) => Id))
  const second = await connection.queryMore(first.nextRecordsUrl, { autoFetch: false })
  holds('the second page is another', second.records.length > 0 && second.records.every(({ Id }) => !seen.has(Id)))

  const email = `${options.mark}.${process.pid}.${Date.now()}@example.com`
  const values = { FirstName: 'Made', LastName: "by a client's call", Email: email }
  const created = await connection.sobject('Contact').create(values)
  holds('the new contact has an id', created.success && Boolean(created.id))

  const all = await connection.query(soql, { autoFetch: true, maxFetch: RECORDS_MAX })
  const ids = new Set(all.records.map(({ Id }) => Id))
  holds('no contact is listed twice', ids.size === all.records.length)
  holds('all are listed', all.records.length === all.totalSize && all.totalSize === first.totalSize + 1)
  holds('the new contact is listed', ids.has(created.id))

  const back = await connection.sobject('Contact').retrieve(created.id)
  for (const [name, value] of Object.entries(values)) holds(`${name} reads back`, back[name] === value)
  const found = await connection.sobject('Contact').find({ Email: values.Email }, ['Id'])
  holds('the new contact is found by its address', found.length === 1 && found[0].Id === created.id)
  return { created: created.id, contacts: all.records.length, pages: Math.ceil(all.totalSize / first.records.length) }
})
