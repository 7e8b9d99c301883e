// A person with a browser: opens a connect page, presses its button, signs in and consents (or not) at the
// authorization server of tests/parties/oauth, and looks at the page where that ends. Chromium with a fresh profile,
// driven by Playwright. Prints what was seen as a line of JSON; tests/parties/README.md has the options.
//
// On its way back the browser is stopped for a moment before it asks for the callback, so that another browser can
// ask for it first.

import { parseArgs } from 'node:util'

import { chromium } from 'playwright-core'

const PATIENCE_MS = 30_000

/** The status of each page's last document: a page has none of its own. */
const statuses = new WeakMap()

const { values: options } = parseArgs({
  options: {
    url: { type: 'string' },
    map: { type: 'string', multiple: true, default: [] },
    button: { type: 'string', default: 'form button, form input[type=submit]' },
    account: { type: 'string', default: 'account-1' },
    decline: { type: 'string', multiple: true, default: [] },
    deny: { type: 'boolean', default: false },
    'second-browser': { type: 'boolean', default: false },
    replay: { type: 'boolean', default: false },
    screenshot: { type: 'string' },
  },
})
if (!options.url) throw new Error('--url URL is needed')

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: [
    '--no-sandbox', '--disable-gpu', '--disable-background-networking', '--disable-component-update', '--disable-sync',
    `--host-resolver-rules=${resolverRules(options.map)}`,
  ],
})
try {
  const page = await freshPage(browser)
  const seen = await connect(page).catch(async (error) => {
    process.exitCode = 1
    return { failed: error.message, ...(await look(page)) }
  })
  if (options.screenshot) await page.screenshot({ path: options.screenshot, fullPage: true })
  process.stdout.write(`${JSON.stringify(seen)}\n`)
} finally {
  await browser.close()
}

/** The whole of it, from the connect page to the page where it ends. */
async function connect(page) {
  await page.goto(options.url)
  await page.locator(options.button).first().click()
  const decision = page.locator(`button[name=decision][value=${options.deny ? 'deny' : 'continue'}]`)
  await decision.waitFor()
  const account = page.locator('input[name=account]')
  if (await account.count()) await account.fill(options.account)
  for (const scope of options.decline) await page.locator(`input[name=scope][value="${scope}"]`).uncheck()

  const there = new URL(page.url()).origin
  const callback = await stopBeforeLeaving(page, there)
  await decision.click({ noWaitAfter: true })
  const url = await callback.url
  const second = options['second-browser'] ? await visit(url) : undefined
  await callback.goOn()
  await page.waitForURL(({ origin }) => origin !== there)

  const ended = await look(page)
  const cookies = (await page.context().cookies()).map(({ name }) => name).sort()
  const replayed = options.replay ? await visit(url, page.context()) : undefined
  return { ...ended, cookies, callback: url, second, replayed }
}

/** Stops the page's next request that is not for `origin`; `url` is what it asked for. */
async function stopBeforeLeaving(page, origin) {
  const devtools = await page.context().newCDPSession(page)
  let stopped
  const url = new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error('the browser did not leave the authorization server')), PATIENCE_MS)
    devtools.on('Fetch.requestPaused', ({ requestId, request }) => {
      if (new URL(request.url).origin === origin) return devtools.send('Fetch.continueRequest', { requestId }).catch(reject)
      clearTimeout(timer)
      stopped = requestId
      resolve(request.url)
    })
  })
  // Redirects are paused each for itself, which Playwright's own routes do not do.
  await devtools.send('Fetch.enable', { patterns: [{ resourceType: 'Document' }] })
  const goOn = async () => {
    await devtools.send('Fetch.continueRequest', { requestId: stopped })
    await devtools.send('Fetch.disable')
  }
  return { url, goOn }
}

/** What is at a URL, for a browser of its own or for one that is there. */
async function visit(url, context) {
  const page = context ? watched(await context.newPage()) : await freshPage(browser)
  await page.goto(url)
  return look(page)
}

/** A page of a browser that knows nothing. */
async function freshPage(browser) {
  const context = await browser.newContext({ ignoreHTTPSErrors: true })
  context.setDefaultTimeout(PATIENCE_MS)
  return watched(await context.newPage())
}

/** A page whose status is kept. */
function watched(page) {
  page.on('response', (response) => {
    if (response.request().isNavigationRequest() && response.frame() === page.mainFrame()) statuses.set(page, response.status())
  })
  return page
}

async function look(page) {
  const [title, text] = [await page.title(), await page.locator('body').innerText()]
  return { url: page.url(), status: statuses.get(page), title, text }
}

/** `HOST:PORT=ADDRESS:PORT` for each; whatever else has a name is not found, so that nothing leaves this machine. */
function resolverRules(maps) {
  const rules = maps.map((map) => {
    const [from, to] = map.split('=')
    if (!to) throw new Error(`--map ${map}: HOST:PORT=ADDRESS:PORT is needed`)
    return `MAP ${from} ${to}`
  })
  return [...rules, 'MAP * ~NOTFOUND', 'EXCLUDE 127.0.0.1', 'EXCLUDE localhost'].join(', ')
}
