// `node-zendesk`, unmodified, against any base URL. It follows `next_page` and `links.next` of bodies as they are. Prints a
// summary as JSON; exit code 0 only if everything held.

import { createHash, randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { parseArgs } from 'node:util'

import zendesk from 'node-zendesk'

import { onlyConnectTo, triedElsewhere } from '../common/guard.mjs'
import { failure, summarize } from '../common/summary.mjs'

const { values: options } = parseArgs({ options: { url: { type: 'string' }, token: { type: 'string' } } })
if (!options.url || !options.token) throw new Error('--url URL and --token TOKEN are needed')
onlyConnectTo(Number(new URL(options.url).port))

const { createClient } = zendesk
const endpointUri = `${options.url}/api/v2`
const base = { endpointUri, username: 'ann@example.com', subdomain: 'acme', throttle: false }

async function pages(client, holds) {
  const users = await client.users.list()
  holds('every user is listed once, page by page', users.length >= 250 && new Set(users.map(({ id }) => id)).size === users.length)
  const tickets = await client.tickets.list()
  holds('every ticket is listed once, cursor by cursor', tickets.length === 150)
  return { users: users.length, tickets: tickets.length }
}

async function upload(client, holds) {
  const folder = mkdtempSync(path.join(tmpdir(), 'keyway-parties-'))
  const [file, data] = [path.join(folder, 'a.bin'), randomBytes(300_000)]
  writeFileSync(file, data)
  const { upload } = await client.attachments.upload(file, { filename: 'a.bin' }).then(({ result, ...rest }) => result ?? rest)
  rmSync(folder, { recursive: true })
  holds('the upload arrives whole', upload.token === createHash('sha256').update(data).digest('hex'))
}

await summarize(async (holds) => {
  // As the password of Basic, behind `/token`; and as a bearer token.
  const facts = await pages(createClient({ ...base, token: options.token }), holds)
  await pages(createClient({ ...base, token: options.token, oauth: true }), holds)

  const key = randomBytes(16).toString('hex')
  const client = createClient({ ...base, token: options.token, customHeaders: { 'Idempotency-Key': key } })
  const create = async () => (await client.users.create({ user: { name: 'Made' } })).result
  const [first, again] = [await create(), await create()]
  holds('the same key makes one user', first.id !== undefined && first.id === again.id)

  const { response, result } = await client.users.show(1)
  const etag = response.headers.get('etag')
  const ask = (known) => createClient({ ...base, token: options.token, customHeaders: { 'If-None-Match': known } }).users.show(1)
  holds('what has not changed is not sent again', result.id === 1 && etag !== null && (await ask(etag)).response.status === 304)
  holds('what has changed is sent', (await ask('"other"')).result.id === 1)

  const missing = await failure(client.users.show(123_456))
  holds('what is missing is an error with its status', missing?.statusCode === 404 || /404/.test(missing?.message ?? ''))
  const refused = await failure(createClient({ ...base, token: 'of-somebody' }).users.list())
  holds('a refusal of the host is an error with its status', refused?.statusCode === 401 || /401/.test(refused?.message ?? ''))
  // It reads bodies that are labelled `application/json` alone, and not a problem document.
  holds('it has what the host says', /authorization.*is needed/.test(refused?.result?.message ?? ''))

  await upload(client, holds)
  holds(`nothing goes elsewhere: ${triedElsewhere()}`, triedElsewhere().length === 0)
  return facts
})
