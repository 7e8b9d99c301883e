// HubSpot's own client for Node, unmodified, against any base URL: lists contacts, creates one, pages through all, and
// reads the new one back. Prints a summary as JSON; exit code 0 only if everything held.

import { parseArgs } from 'node:util'

import { Client } from '@hubspot/api-client'

import { summarize } from '../common/summary.mjs'

const FIRST_PAGE = 10
const PAGE = 100

const { values: options } = parseArgs({
  options: { 'base-url': { type: 'string' }, token: { type: 'string' }, mark: { type: 'string', default: 'parties' } },
})
if (!options['base-url'] || !options.token) throw new Error('--base-url URL and --token TOKEN are needed')

await summarize(async (holds) => {
  const client = new Client({ basePath: options['base-url'], accessToken: options.token })
  const { basicApi } = client.crm.contacts

  const first = await basicApi.getPage(FIRST_PAGE, undefined, ['email'])
  holds('the first page is full', first.results.length === FIRST_PAGE)
  holds('there is a next page', Boolean(first.paging?.next?.after))
  const second = await basicApi.getPage(FIRST_PAGE, first.paging?.next?.after, ['email'])
  const seen = new Set(first.results.map(({ id }) => id))
  holds('the second page is another', second.results.length > 0 && second.results.every(({ id }) => !seen.has(id)))

  const before = await client.crm.contacts.getAll(PAGE, undefined, ['email'])
  // Unique, so that a second run against the same account meets no conflict.
  const email = `${options.mark}.${process.pid}.${Date.now()}@example.com`
  const properties = { email, firstname: 'Made', lastname: 'by a client' }
  const created = await basicApi.create({ properties, associations: [] })
  holds('the new contact has an id', Boolean(created.id))

  const all = await client.crm.contacts.getAll(PAGE, undefined, ['email'])
  const ids = new Set(all.map(({ id }) => id))
  holds('no contact is listed twice', ids.size === all.length)
  holds('there is exactly one more than before', all.length === before.length + 1)
  holds('the new contact is listed', ids.has(created.id))

  const back = await basicApi.getById(created.id, Object.keys(properties))
  for (const [name, value] of Object.entries(properties)) holds(`${name} reads back`, back.properties[name] === value)
  return { created: created.id, contacts: all.length, pages: Math.ceil(all.length / PAGE) }
})
