// Lets a process connect to one port of the loopback interface and to nothing else, whatever library asks. Everything
// that Node's clients have, HTTP and TLS and `fetch`, ends in the one function that is replaced here. Names below
// `localhost` lead to this machine, as RFC 6761 has it and as not every resolver does.

import net from 'node:net'

const elsewhere = []

/** Everywhere else that was tried, as `host:port`. */
export const triedElsewhere = () => [...elsewhere]

/** From here on only this port of 127.0.0.1 is reachable. */
export function onlyConnectTo(port) {
  const { connect } = net.Socket.prototype
  net.Socket.prototype.connect = function (...args) {
    // Node's own callers hand over what they have normalized already.
    const normalized = Array.isArray(args[0]) ? args[0] : net._normalizeArgs(args)
    const [options] = normalized
    const host = options.host ?? 'localhost'
    const here = host === '127.0.0.1' || host === 'localhost' || host.endsWith('.localhost')
    if (options.path || !here || Number(options.port) !== port) {
      elsewhere.push(options.path || `${host}:${options.port}`)
      process.nextTick(() => this.destroy(new Error(`nothing is sent to ${elsewhere.at(-1)}`)))
      return this
    }
    options.host = '127.0.0.1'
    return connect.call(this, normalized)
  }
}
