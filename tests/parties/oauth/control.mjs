// The control endpoints: how a test looks inside the authorization server and makes it misbehave. On a port of its own,
// without TLS and without credential; tests/parties/README.md lists them.

import { Refused, controlServer, onlyMembers } from '../common/http.mjs'
import { seconds } from './storage.mjs'

/** The control server of one authorization server. */
export function control({ provider, storage, ledger, faults, settings }) {
  return controlServer({
    'GET /_control/requests': () => ({ ...ledger.counts(), held: faults.held }),
    'GET /_control/refresh-tokens': () => ledger.refreshTokens(),
    'POST /_control/introspect': (body) => ledger.introspect(onlyMembers(body, ['token']).token),
    'POST /_control/expire': (body) => expire(storage, onlyMembers(body, ['token']).token),
    'POST /_control/revoke': (body) => revoke(storage, onlyMembers(body, ['token', 'grant', 'account'])),
    'POST /_control/clients': (body) => addClients(provider, storage, body),
    'POST /_control/settings': (body) => void Object.assign(settings, onlyMembers(body, Object.keys(settings))),
    'POST /_control/faults': (body) => faults.add(body),
    'DELETE /_control/faults': () => faults.clear(),
    'POST /_control/release': () => ({ released: faults.release() }),
    'POST /_control/reset': () => {
      faults.clear()
      faults.release()
      ledger.forgetCounts()
    },
  })
}

/** Puts clients into storage, replacing those that are there. Answers the names. */
export async function addClients(provider, storage, clients) {
  const names = []
  for (const metadata of [clients].flat()) {
    storage.rows('Client').set(metadata?.client_id, metadata)
    try {
      await provider.Client.find(metadata?.client_id)
    } catch (error) {
      storage.rows('Client').delete(metadata?.client_id)
      throw new Refused(400, `client ${metadata?.client_id}: ${error.error_description ?? error.message}`)
    }
    names.push(metadata.client_id)
  }
  return { clients: names }
}

/** The rows that have this token: one, or none. */
function holders(storage, token) {
  return ['AccessToken', 'ClientCredentials', 'RefreshToken'].map((model) => storage.rows(model).get(token)).filter(Boolean)
}

function expire(storage, token) {
  const [row] = holders(storage, token)
  if (!row) throw new Refused(404, 'no such token')
  row.exp = seconds() - 1
}

/** Ends grants: one by name, that of a token, or all of an account. */
function revoke(storage, { token, grant, account }) {
  const ofAccount = [...storage.rows('Grant')].filter(([, row]) => account !== undefined && row.accountId === account)
  const grants = [grant, ...holders(storage, token).map((row) => row.grantId), ...ofAccount.map(([id]) => id)]
  const ended = grants.filter((id) => storage.rows('Grant').has(id))
  if (ended.length === 0) throw new Refused(404, 'no such grant')
  for (const id of ended) storage.revokeGrant(id)
  return { revoked: ended }
}
