// What happened: token requests by grant type, and every refresh token that was ever issued, dead ones too.

import { seconds } from './storage.mjs'

/** Models whose rows are bearer tokens. */
const BEARER = ['AccessToken', 'ClientCredentials', 'RefreshToken']

export class Ledger {
  #storage
  #requests = {}
  #processed = {}
  #refresh = new Map()

  constructor(storage) {
    this.#storage = storage
  }

  /** Hears of refresh tokens from the provider itself. */
  watch(provider) {
    provider.on('refresh_token.saved', (token) => {
      const { jti, grantId, clientId, accountId, scope, rotations } = token
      const known = { grant: grantId, client: clientId, account: accountId, scope, rotations }
      this.#refresh.set(jti, { token: jti, ...known, consumed: false, presented: 0 })
    })
    provider.on('refresh_token.consumed', ({ jti }) => {
      this.#refresh.get(jti).consumed = true
    })
  }

  /** A request came in. */
  arrived(endpoint, form) {
    const kind = form.get('grant_type') ?? 'none'
    const counts = (this.#requests[endpoint] ??= {})
    counts[kind] = (counts[kind] ?? 0) + 1
    const presented = this.#refresh.get(form.get('refresh_token'))
    if (presented) presented.presented += 1
  }

  /** The provider itself decided one, whatever was answered in the end. */
  processed(endpoint, form, outcome) {
    const kinds = (this.#processed[endpoint] ??= {})
    const outcomes = (kinds[form.get('grant_type') ?? 'none'] ??= {})
    outcomes[outcome] = (outcomes[outcome] ?? 0) + 1
  }

  forgetCounts() {
    this.#requests = {}
    this.#processed = {}
  }

  counts() {
    return { requests: this.#requests, processed: this.#processed }
  }

  /** All of them, the oldest first. */
  refreshTokens() {
    return [...this.#refresh.values()].map((entry) => ({ ...entry, state: this.#state('RefreshToken', entry.token) }))
  }

  /** What a token is worth now, without using it. */
  introspect(token) {
    for (const model of BEARER) {
      const row = this.#storage.rows(model).get(token)
      if (!row) continue
      const state = this.#state(model, token)
      const { clientId: client, accountId: account, grantId: grant, scope, exp } = row
      return { active: state === 'valid', state, kind: model, client, account, grant, scope, 'expires-at': exp }
    }
    // One that was revoked is gone from storage.
    return { active: false, state: this.#refresh.has(token) ? 'revoked' : 'unknown' }
  }

  #state(model, token) {
    const row = this.#storage.rows(model).get(token)
    if (!row || (row.grantId && !this.#storage.rows('Grant').has(row.grantId))) return 'revoked'
    if (row.consumed) return 'consumed'
    return row.exp <= seconds() ? 'expired' : 'valid'
  }
}
