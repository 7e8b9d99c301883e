// Ways for the token and revocation endpoints to go wrong on demand: late, with another answer, with an answer that
// was changed, or with none although the request was carried out.

import { setTimeout as pause } from 'node:timers/promises'

import { Refused, onlyMembers, readText } from '../common/http.mjs'

const MEMBERS = [
  'endpoint', 'grant-type', 'times', 'processed', 'delay-request-ms', 'delay-answer-ms', 'hold', 'status', 'headers',
  'body', 'patch', 'drop',
]

export class Faults {
  #faults = []
  #held = new Set()
  #endpoints
  #ledger

  /** `endpoints`: from path to name. */
  constructor(endpoints, ledger) {
    this.#endpoints = endpoints
    this.#ledger = ledger
  }

  add(fault) {
    onlyMembers(fault, MEMBERS)
    if (![undefined, 'request', 'answer'].includes(fault.hold)) throw new Refused(400, 'hold: request or answer')
    const endpoint = fault.endpoint ?? 'token'
    if (![...this.#endpoints.values()].includes(endpoint)) throw new Refused(400, `no endpoint ${endpoint}`)
    // An answer of our own is by default instead of the provider's doing; everything else comes after it.
    const processed = fault.processed ?? fault.status === undefined
    if (fault.patch && (!processed || fault.status !== undefined)) throw new Refused(400, 'only a real answer can be patched')
    this.#faults.push({ ...fault, endpoint, processed, left: fault.times ?? Infinity })
  }

  clear() {
    this.#faults = []
  }

  get held() {
    return this.#held.size
  }

  /** Lets go what is held. Answers how many that were. */
  release() {
    const gates = [...this.#held]
    this.#held.clear()
    for (const open of gates) open()
    return gates.length
  }

  /** Outermost around the provider. */
  middleware = async (ctx, next) => {
    const endpoint = this.#endpoints.get(ctx.path)
    if (!endpoint || ctx.method !== 'POST') return next()
    // The provider reads what is there already.
    ctx.req.body = await readText(ctx.req)
    const form = new URLSearchParams(ctx.req.body)
    this.#ledger.arrived(endpoint, form)

    const fault = this.#take(endpoint, form.get('grant_type'))
    await this.#wait(fault, 'request')
    if (fault?.processed ?? true) {
      await next()
      this.#ledger.processed(endpoint, form, ctx.body?.error ?? (ctx.status < 300 ? 'ok' : `status-${ctx.status}`))
    }
    await this.#wait(fault, 'answer')
    if (fault) answer(ctx, fault)
  }

  /** The first that fits, used up by one. */
  #take(endpoint, grantType) {
    const fits = (fault) => fault.endpoint === endpoint && (fault['grant-type'] ?? grantType) === grantType
    const fault = this.#faults.find(fits)
    if (fault && (fault.left -= 1) <= 0) this.#faults.splice(this.#faults.indexOf(fault), 1)
    return fault
  }

  async #wait(fault, moment) {
    if (fault?.[`delay-${moment}-ms`]) await pause(fault[`delay-${moment}-ms`])
    if (fault?.hold === moment) await new Promise((open) => this.#held.add(open))
  }
}

function answer(ctx, { status, headers = {}, body = '', patch, drop }) {
  if (drop) {
    ctx.respond = false
    ctx.req.socket.destroy()
    return
  }
  if (patch && ctx.status === 200) ctx.body = merged(ctx.body, patch)
  if (status !== undefined) {
    ctx.remove('content-type')
    ctx.body = body
    ctx.status = status
  }
  ctx.set(headers)
}

/** JSON Merge Patch (RFC 7396) on the top level: null takes a member away. */
function merged(body, patch) {
  return Object.fromEntries(Object.entries({ ...body, ...patch }).filter(([, value]) => value !== null))
}
