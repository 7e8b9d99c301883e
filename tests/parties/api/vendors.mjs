// Mocks of three vendors' APIs, as far as their official clients for Node need them: how lists are paged, how errors look,
// where files go. Links are absolute and name the vendor's own host, as the real ones do.

import http from 'node:http'
import { parseArgs } from 'node:util'

import { sha256 } from '../common/bytes.mjs'
import { controlServer, listen, reply } from '../common/http.mjs'
import { quietOutput, ready } from '../common/life.mjs'
import { github, uploads } from './vendors/github.mjs'
import { stripe } from './vendors/stripe.mjs'
import { zendesk } from './vendors/zendesk.mjs'

const VENDORS = { stripe, zendesk, github, uploads }

const { values: options } = parseArgs({
  options: { token: { type: 'string' }, login: { type: 'string' }, 'exit-with-stdin': { type: 'boolean', default: false } },
})
if (!options.token || !options.login) throw new Error('--token TOKEN and --login USER:PASSWORD are needed')

quietOutput()

const bearer = `Bearer ${options.token}`
const basic = `Basic ${Buffer.from(options.login).toString('base64')}`
const CREDENTIALS = { stripe: bearer, zendesk: basic, github: bearer, uploads: bearer }

/** A token of the host, whole: three letters alone are found in every fiftieth upload of random bytes. */
const FOREIGN = /kw_[\w-]{43}/

/** Requests by vendor, and those in which something stood that is none of the vendor's business. */
const counts = Object.fromEntries(Object.keys(VENDORS).map((name) => [name, 0]))
const foreign = []

/** What waits for the next request to a vendor. */
const waiting = Object.fromEntries(Object.keys(VENDORS).map((name) => [name, []]))

function look(name, request, body) {
  const decoded = [...request.rawHeaders].map((text) => (text.startsWith('Basic ') ? Buffer.from(text.slice(6), 'base64').toString('latin1') : text))
  const all = [decodeURIComponent(request.url), ...decoded, body.toString('latin1')].join('\n')
  if (FOREIGN.test(all)) foreign.push(`${name} ${request.method} ${request.url}`)
}

async function serve(name, request, response) {
  counts[name] += 1
  for (const go of waiting[name].splice(0)) go()
  const chunks = []
  for await (const chunk of request) chunks.push(chunk)
  const body = Buffer.concat(chunks)
  look(name, request, body)
  // GitHub takes a bearer token behind the word `token` as well.
  const authorized = request.headers.authorization?.replace(/^token /, 'Bearer ') === CREDENTIALS[name]
  const url = new URL(request.url, `https://${request.headers.host}`)
  const otherRequest = () => new Promise((resolve) => waiting[name].push(resolve))
  await VENDORS[name]({ request, response, url, body, authorized, otherRequest, reply: (...args) => reply(response, ...args), sha256 })
}

const ports = {}
for (const name of Object.keys(VENDORS)) {
  const server = http.createServer((request, response) => {
    serve(name, request, response).catch((error) => {
      console.error(error)
      if (!response.headersSent) reply(response, 500, {})
    })
  })
  ports[name] = await listen(server)
}
const control = await listen(controlServer({ 'GET /_control/requests': () => ({ counts, foreign }) }))

ready({ ...ports, control }, { withStdin: options['exit-with-stdin'] })
