// The host's HTTP API, as far as this run needs it, and the host process itself. All that knows the
// surface of Keyway is here.

import { readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'

/** Starts the host on an empty store, its one outbound host answered by the front. */
export async function startHost(children, binary, folder, front, log) {
  const data = path.join(folder, 'data')
  const config = path.join(folder, 'keyway.toml')
  await writeFile(config, `[[egress.stand-in]]\nhost = "api.hubapi.com"\naddress = "${front}"\n`)
  let tokenFile = path.join(data, 'admin.token')
  const ready = (line) => {
    tokenFile = /^admin token in (.+)$/.exec(line)?.[1] ?? tokenFile
    return /^listening on (http:\/\/127\.0\.0\.1:\d+)/.exec(line)?.[1]
  }
  const args = ['serve', '--data', data, '--listen', '127.0.0.1:0', '--config', config]
  const address = await children.start('keyway serve', binary, args, { ready, onLine: (line) => log.push(line) })
  return new Keyway(address, (await readFile(tokenFile, 'utf8')).trim())
}

/** A client of the host. Each method answers `{ status, body }`. */
export class Keyway {
  constructor(address, token) {
    this.address = address
    this.token = token
  }

  publish(component) {
    return this.#send('POST', '/v1/releases', component, 'application/wasm')
  }

  installation(tenant, connector) {
    const base = `/v1/environments/dev/tenants/${tenant}/connectors/${connector}`
    const send = (method, rest, body) => this.#send(method, base + rest, JSON.stringify(body))
    return {
      pin: (release) => send('PUT', '/pin', { release, reason: 'conformance' }),
      connect: (slot, token) => send('PUT', `/connections/${slot}`, { token }),
      discover: (object) => send('GET', object ? `/objects/${object}` : '/objects'),
      read: (object, request) => send('POST', `/objects/${object}/read`, request),
      write: (object, request) => send('POST', `/objects/${object}/write`, request),
      invoke: (action, input) => send('POST', `/actions/${action}`, input),
    }
  }

  async #send(method, target, body, type = 'application/json') {
    const headers = { authorization: `Bearer ${this.token}` }
    if (body !== undefined) headers['content-type'] = type
    const response = await fetch(this.address + target, { method, headers, body, redirect: 'error' })
    const text = await response.text()
    let parsed
    try {
      parsed = text === '' ? undefined : JSON.parse(text)
    } catch {
      parsed = text
    }
    return { status: response.status, body: parsed }
  }
}
