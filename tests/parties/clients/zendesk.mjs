// `node-zendesk`, unmodified, against any base URL. It follows `next_page` and `links.next` of bodies as they are. Prints a
// summary as JSON; exit code 0 only if everything held.

import { randomUUID } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { parseArgs } from 'node:util'

import zendesk from 'node-zendesk'

import { bytesOf, file as fileOf, read, sha256 } from '../common/bytes.mjs'
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
  const [file, data] = [path.join(folder, 'a.bin'), bytesOf('an upload', 300_000)]
  writeFileSync(file, data)
  const { upload } = await client.attachments.upload(file, { filename: 'a.bin' }).then(({ result, ...rest }) => result ?? rest)
  rmSync(folder, { recursive: true })
  holds('the upload arrives whole', upload.token === sha256(data))
}

async function create(holds) {
  const clientWith = (key) => createClient({ ...base, token: options.token, customHeaders: { 'Idempotency-Key': key } })
  const make = async (client) => (await client.users.create({ user: { name: 'Made' } })).result.id
  const list = async () => (await clientWith(randomUUID()).users.list()).map(({ id }) => id)
  const [before, same] = [await list(), clientWith(randomUUID())]
  const [first, again, other] = [await make(same), await make(same), await make(clientWith(randomUUID()))]
  holds('the same key makes one user', first !== undefined && first === again)
  const more = (await list()).filter((id) => !before.includes(id))
  holds('another key makes another, and no third is there', JSON.stringify(more) === JSON.stringify([first, other]))
}

/** It has no method for it: its answers have their bodies where its transport gives them, and the address is asked as it is. */
async function download(holds) {
  const responseAdapter = (response) => ({
    json: () => response.json(),
    status: response.status,
    headers: response.headers,
    statusText: response.statusText,
    body: response.body,
  })
  const transportConfig = { transportFn: fetch, responseAdapter }
  const client = createClient({ ...base, token: options.token, endpointUri: options.url, transportConfig })
  const { attachment } = (await createClient({ ...base, token: options.token }).attachments.show(7)).result
  holds('the file is on this host', attachment.content_url.startsWith(`${options.url}/`))
  const { response } = await client.attachments.get(attachment.content_url)
  const got = await read(response.body, () => createClient({ ...base, token: options.token }).users.show(1))
  holds('the download is what was sent, piece by piece', JSON.stringify(got) === JSON.stringify(fileOf()))
  return { bytes: got.bytes }
}

async function errors(holds) {
  const clientWith = (token) => createClient({ ...base, token, throwOriginalException: true })
  const missing = await failure(clientWith(options.token).users.show(123_456))
  holds('what is missing is an error with its status', missing?.statusCode === 404 && missing?.result.error === 'RecordNotFound')
  const invalid = await failure(clientWith(options.token).users.create({ user: {} }))
  holds('what is invalid is an error with its parts', invalid?.statusCode === 422 && invalid?.result.details.name[0].error === 'BlankValue')
  const refused = await failure(clientWith('of-somebody').users.list())
  holds('a refusal of the host is an error with its status', refused?.statusCode === 401)
  // It reads bodies that are labelled `application/json` alone, and not a problem document.
  holds('it has what the host says', /authorization.*is needed/.test(refused?.result?.message ?? ''))
}

await summarize(async (holds) => {
  // As the password of Basic, behind `/token`; and as a bearer token.
  const facts = await pages(createClient({ ...base, token: options.token }), holds)
  await pages(createClient({ ...base, token: options.token, oauth: true }), holds)

  await create(holds)

  const client = createClient({ ...base, token: options.token })
  const { response, result } = await client.users.show(1)
  const etag = response.headers.get('etag')
  const ask = (known) => createClient({ ...base, token: options.token, customHeaders: { 'If-None-Match': known } }).users.show(1)
  holds('what has not changed is not sent again', result.id === 1 && etag !== null && (await ask(etag)).response.status === 304)
  holds('what has changed is sent', (await ask('"other"')).result.id === 1)

  await errors(holds)
  await upload(client, holds)
  const { bytes } = await download(holds)
  holds(`nothing goes elsewhere: ${triedElsewhere()}`, triedElsewhere().length === 0)
  return { ...facts, bytes }
})
