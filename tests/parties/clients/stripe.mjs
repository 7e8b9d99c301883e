// Stripe's own client for Node, unmodified, against any host: it knows no base URL with a path. Prints a summary as JSON;
// exit code 0 only if everything held.

import { randomUUID } from 'node:crypto'
import { parseArgs } from 'node:util'

import Stripe from 'stripe'

import { bytesOf, file, read, sha256 } from '../common/bytes.mjs'
import { onlyConnectTo, triedElsewhere } from '../common/guard.mjs'
import { failure, summarize } from '../common/summary.mjs'

const { values: options } = parseArgs({ options: { url: { type: 'string' }, token: { type: 'string' } } })
if (!options.url || !options.token) throw new Error('--url URL and --token TOKEN are needed')
const { protocol, hostname, port } = new URL(options.url)
onlyConnectTo(Number(port))

const stripeWith = (key) =>
  new Stripe(key, { host: hostname, port, protocol: protocol.slice(0, -1), maxNetworkRetries: 0, telemetry: false })

await summarize(async (holds) => {
  const stripe = stripeWith(options.token)

  const list = async () => {
    const ids = []
    for await (const { id } of stripe.customers.list({ limit: 100 })) ids.push(id)
    return ids
  }
  const before = await list()
  holds('every customer is listed once', before.length >= 230 && new Set(before).size === before.length)

  const create = (idempotencyKey) => stripe.customers.create({ email: 'made@example.com' }, { idempotencyKey })
  const key = randomUUID()
  const [first, again, other] = [await create(key), await create(key), await create(randomUUID())]
  holds('the same key makes one customer', first.id === again.id && first.email === 'made@example.com')
  const more = (await list()).filter((id) => !before.includes(id))
  holds('another key makes another, and no third is there', JSON.stringify(more) === JSON.stringify([first.id, other.id]))
  holds('the answer says that it was replayed', again.lastResponse.headers['idempotent-replayed'] === 'true')
  holds('the answer says which call it was', /^call_/.test(again.lastResponse.headers['keyway-call']))

  // The client has no word for conditions, and takes an answer without a body for a broken one.
  let status
  stripe.on('response', (event) => (status = event.status))
  const ask = (additionalHeaders) => stripe.rawRequest('GET', '/v1/customers/cus_1', {}, { additionalHeaders })
  const { etag } = (await ask({})).lastResponse.headers
  const unchanged = await failure(ask({ 'If-None-Match': etag }))
  holds('what has not changed is not sent again', etag !== undefined && status === 304 && unchanged !== undefined)
  holds('what has changed is sent', (await ask({ 'If-None-Match': '"other"' })).id === 'cus_1' && status === 200)

  const missing = await failure(stripe.customers.retrieve('cus_none'))
  holds('what is missing is an error of its type', missing instanceof Stripe.errors.StripeInvalidRequestError)
  holds('it has its code', missing?.code === 'resource_missing' && missing?.statusCode === 404)
  const declined = await failure(stripe.charges.create({ amount: 1, currency: 'eur' }))
  holds('a declined card is an error of its type', declined instanceof Stripe.errors.StripeCardError)

  const refused = await failure(stripeWith('sk_test_of_somebody').customers.list())
  holds('a refusal of the host is no success', refused instanceof Stripe.errors.StripeAuthenticationError)
  holds('it says what the host says', /did not issue/.test(refused?.message ?? ''))

  const data = bytesOf('an upload', 300_000)
  const sent = { data, name: 'a.bin', type: 'application/octet-stream' }
  const stored = await stripe.files.create({ purpose: 'dispute_evidence', file: sent })
  holds('the upload arrives whole', stored.filename === sent.name && stored.size === data.length && stored.title === sha256(data))

  const got = await read(await stripe.quotes.pdf('qt_1'), () => stripe.rawRequest('GET', '/v1/customers/cus_1'))
  holds('the download is what was sent, piece by piece', JSON.stringify(got) === JSON.stringify(file()))

  holds(`nothing goes elsewhere: ${triedElsewhere()}`, triedElsewhere().length === 0)
  return { customers: before.length, bytes: got.bytes }
})
