// What the authorization server keeps, in memory. Nothing is evicted, and control endpoints can look inside.
// Whether something has expired is decided by oidc-provider, not here.

/** The parts of a grant that die with it. */
const OF_A_GRANT = ['AccessToken', 'AuthorizationCode', 'RefreshToken']

export class Storage {
  #models = new Map()

  /** The rows of one model, by id. */
  rows(model) {
    if (!this.#models.has(model)) this.#models.set(model, new Map())
    return this.#models.get(model)
  }

  /** Ends everything that was issued for a grant, and the grant. */
  revokeGrant(grant) {
    this.revokeTokens(grant)
    this.rows('Grant').delete(grant)
  }

  /** Ends everything that was issued for a grant. */
  revokeTokens(grant) {
    for (const model of OF_A_GRANT) {
      const rows = this.rows(model)
      for (const [id, row] of rows) if (row.grantId === grant) rows.delete(id)
    }
  }

  /** What oidc-provider asks of its storage, for one model. */
  adapter(model) {
    const rows = this.rows(model)
    return {
      upsert: async (id, payload) => void rows.set(id, payload),
      find: async (id) => rows.get(id),
      findByUid: async (uid) => [...rows.values()].find((row) => row.uid === uid),
      findByUserCode: async () => undefined,
      consume: async (id) => {
        rows.get(id).consumed = seconds()
      },
      destroy: async (id) => void rows.delete(id),
      revokeByGrantId: async (grant) => this.revokeTokens(grant),
    }
  }
}

/** Seconds since 1970, as tokens count them. */
export function seconds() {
  return Math.floor(Date.now() / 1000)
}
