// oidc-provider, set up as the authorization server of a SaaS vendor: what is not the library's default is here.

import { generateKeyPairSync, randomBytes } from 'node:crypto'

import { Provider } from 'oidc-provider'

import { registerTokenExchange } from './exchange.mjs'
import { errorPage, pages } from './pages.mjs'

/** Of a client, beside its standard metadata: whether its refresh tokens are replaced at each use. */
const ROTATE = 'rotate_refresh_token'

/** `settings` is read at each use, so that it can be changed while the server runs. */
export function makeProvider(issuer, storage, settings) {
  const provider = new Provider(issuer, {
    adapter: (model) => storage.adapter(model),
    jwks: { keys: [signingKey()] },
    cookies: { keys: [randomBytes(32).toString('hex')] },
    scopes: ['openid', 'offline_access', 'contacts.read', 'contacts.write'],
    clientDefaults: { id_token_signed_response_alg: 'ES256' },
    extraClientMetadata: { properties: [ROTATE], validator: checkRotate },
    pkce: { required: () => true },
    // The default replaces those of confidential clients only near their end.
    rotateRefreshToken: ({ oidc }) => oidc.client[ROTATE] ?? true,
    expiresWithSession: () => false,
    features: {
      devInteractions: { enabled: false },
      rpInitiatedLogout: { enabled: false },
      clientCredentials: { enabled: true },
      revocation: { enabled: true, allowedPolicy: (_ctx, client, token) => token.clientId === client.clientId },
    },
    findAccount: (_ctx, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
    renderError: errorPage,
    clientBasedCORS: () => false,
    ttl: {
      AccessToken: () => settings['access-token-seconds'],
      ClientCredentials: () => settings['access-token-seconds'],
      RefreshToken: () => settings['refresh-token-seconds'],
      AuthorizationCode: 60,
      IdToken: 3600,
      Interaction: 3600,
      Session: 14 * 86_400,
      Grant: 14 * 86_400,
    },
  })
  provider.on('server_error', (_ctx, error) => console.error(error))
  registerTokenExchange(provider)
  provider.use(pages(provider))
  provider.use(members(settings))
  return provider
}

/** Adds to token responses what vendors add: the account's name, and members such as an `instance_url`. */
function members(settings) {
  return async (ctx, next) => {
    await next()
    if (!ctx.body?.access_token) return
    const account = ctx.oidc.entities.AccessToken?.accountId
    ctx.body = { ...settings['token-members'], ...(account ? { account_id: account } : {}), ...ctx.body }
  }
}

function checkRotate(_ctx, _key, value) {
  if (![undefined, true, false].includes(value)) throw new TypeError(`${ROTATE} is true or false`)
}

function signingKey() {
  return generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ format: 'jwk' })
}
