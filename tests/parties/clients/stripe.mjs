// Stripe's own client for Node, unmodified, against any host: it knows no base URL with a path. Prints a summary as JSON;
// exit code 0 only if everything held.

import { createHash, randomBytes } from 'node:crypto'
import { parseArgs } from 'node:util'

import Stripe from 'stripe'

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

  const ids = new Set()
  for await (const { id } of stripe.customers.list({ limit: 100 })) ids.add(id)
  holds('every customer is listed once', ids.size >= 230)

  const idempotencyKey = randomBytes(16).toString('hex')
  const [first, again] = [
    await stripe.customers.create({ email: 'made@example.com' }, { idempotencyKey }),
    await stripe.customers.create({ email: 'made@example.com' }, { idempotencyKey }),
  ]
  holds('the same key makes one customer', first.id === again.id && first.email === 'made@example.com')
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

  const data = randomBytes(300_000)
  const file = await stripe.files.create({ purpose: 'dispute_evidence', file: { data, name: 'a.bin', type: 'application/octet-stream' } })
  holds('the upload arrives', file.size > data.length && file.type.startsWith('multipart/form-data'))

  const hash = createHash('sha256')
  let bytes = 0
  for await (const piece of await stripe.quotes.pdf('qt_1')) {
    hash.update(piece)
    bytes += piece.length
  }
  const expected = createHash('sha256')
  for (let piece = 0; piece < 64; piece += 1) expected.update(Buffer.alloc(64 * 1024, piece))
  holds('the download is what was sent', hash.digest('hex') === expected.digest('hex'))

  holds(`nothing goes elsewhere: ${triedElsewhere()}`, triedElsewhere().length === 0)
  return { customers: ids.size, bytes }
})
