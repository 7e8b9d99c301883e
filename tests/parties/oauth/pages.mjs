// The page on which an account holder signs in and says what the client may do. Plain HTML: it works in a browser
// without scripts. Any account name will do, and there is no password.

import { Refused, readText } from '../common/http.mjs'

/** Serves `/interaction/{uid}` in front of the provider. */
export function pages(provider) {
  return async (ctx, next) => {
    if (!/^\/interaction\/[\w-]+$/.test(ctx.path)) return next()
    try {
      const interaction = await provider.interactionDetails(ctx.req, ctx.res)
      if (ctx.method === 'GET') show(ctx, page(ctx.path, interaction))
      else if (ctx.method === 'POST') await decide(provider, ctx, interaction)
      else throw new Refused(405, 'GET or POST')
    } catch (error) {
      ctx.status = error.status ?? error.statusCode ?? 500
      show(ctx, document('That did not work', `<p>${escaped(error.message)}</p>`))
    }
  }
}

/** What the provider shows where it cannot send the browser back. */
export function errorPage(ctx, { error, error_description: description = '' }) {
  show(ctx, document('That did not work', `<p><b>${escaped(error)}</b> ${escaped(description)}</p>`))
}

async function decide(provider, ctx, { params, prompt, session, grantId }) {
  const form = new URLSearchParams(await readText(ctx.req))
  const finish = async (result) => {
    const returnTo = await provider.interactionResult(ctx.req, ctx.res, result)
    ctx.redirect(returnTo)
    ctx.status = 303
  }
  if (form.get('decision') === 'deny') {
    return finish({ error: 'access_denied', error_description: 'the account holder declined' })
  }
  // Whoever is signed in already stays it.
  const accountId = session?.accountId ?? form.get('account')?.trim()
  if (!accountId) throw new Refused(400, 'an account name is needed')

  const grant = (grantId && (await provider.Grant.find(grantId))) || new provider.Grant({ accountId, clientId: params.client_id })
  const granted = form.getAll('scope')
  const declined = scopes(params).filter((scope) => !granted.includes(scope))
  if (granted.length > 0) grant.addOIDCScope(granted)
  if (declined.length > 0) grant.rejectOIDCScope(declined)
  const consent = { grantId: await grant.save() }
  return finish(prompt.name === 'login' ? { login: { accountId }, consent } : { consent })
}

function page(action, { params, session }) {
  const known = session?.accountId
  const account = known
    ? `<p>Signed in as <b>${escaped(known)}</b></p>`
    : '<p><label>Account <input name="account" autofocus autocomplete="off"></label></p>'
  const boxes = scopes(params).map(
    (scope) => `<li><label><input type="checkbox" name="scope" value="${escaped(scope)}" checked> ${escaped(scope)}</label></li>`,
  )
  return document(
    'Sign in',
    `<p><b>${escaped(params.client_id)}</b> asks for access.</p>
<form method="post" action="${escaped(action)}">
${account}
<ul>${boxes.join('')}</ul>
<p><button name="decision" value="continue">Continue</button> <button name="decision" value="deny">Deny</button></p>
</form>`,
  )
}

function document(title, content) {
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>${escaped(title)}</title>
<style>body{font:16px/1.5 sans-serif;max-width:26rem;margin:4rem auto}ul{list-style:none;padding:0}</style></head>
<body><h1>${escaped(title)}</h1>
${content}
</body></html>
`
}

function show(ctx, html) {
  ctx.set('cache-control', 'no-store')
  ctx.set('content-security-policy', "default-src 'none'; style-src 'unsafe-inline'")
  ctx.type = 'html'
  ctx.body = html
}

function scopes({ scope = '' }) {
  return scope.split(' ').filter(Boolean)
}

function escaped(text) {
  const entities = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' }
  return String(text).replace(/[&<>"]/g, (character) => entities[character])
}
