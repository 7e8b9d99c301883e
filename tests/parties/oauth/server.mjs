// The authorization server as a process: oidc-provider over TLS on the loopback interface, with control endpoints on
// a second port. Prints {"port", "control"} when it is ready. tests/parties/README.md has the options.

import { readFileSync } from 'node:fs'
import https from 'node:https'
import { parseArgs } from 'node:util'

import { listen } from '../common/http.mjs'
import { quietOutput, ready } from '../common/life.mjs'

quietOutput()

// After the line above: the library may speak while it is loaded.
const { makeProvider } = await import('./provider.mjs')
const { addClients, control } = await import('./control.mjs')
const { Faults } = await import('./faults.mjs')
const { Ledger } = await import('./ledger.mjs')
const { Storage } = await import('./storage.mjs')

const { values: options } = parseArgs({
  options: {
    port: { type: 'string', default: '0' },
    'control-port': { type: 'string', default: '0' },
    issuer: { type: 'string', default: 'https://auth.example.test' },
    cert: { type: 'string' },
    key: { type: 'string' },
    clients: { type: 'string' },
    'access-token-seconds': { type: 'string', default: '1800' },
    'refresh-token-seconds': { type: 'string', default: '1209600' },
    'exit-with-stdin': { type: 'boolean', default: false },
  },
})
for (const name of ['cert', 'key', 'clients']) {
  if (!options[name]) throw new Error(`--${name} FILE is needed`)
}

const settings = {
  'access-token-seconds': Number(options['access-token-seconds']),
  'refresh-token-seconds': Number(options['refresh-token-seconds']),
  'token-members': {},
}
const storage = new Storage()
const ledger = new Ledger(storage)
const provider = makeProvider(options.issuer, storage, settings)
const endpoints = new Map(['token', 'revocation'].map((name) => [provider.pathFor(name), name]))
const faults = new Faults(endpoints, ledger)
// Before all others, so that it sees what they answer.
provider.middleware.unshift(faults.middleware)
ledger.watch(provider)
await addClients(provider, storage, JSON.parse(readFileSync(options.clients, 'utf8')))

const tls = { cert: readFileSync(options.cert), key: readFileSync(options.key) }
const front = https.createServer(tls, provider.callback())
const back = control({ provider, storage, ledger, faults, settings })
const port = await listen(front, Number(options.port))
const controlPort = await listen(back, Number(options['control-port']))
ready({ port, control: controlPort }, { withStdin: options['exit-with-stdin'] })
