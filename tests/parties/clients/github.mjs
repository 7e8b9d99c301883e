// GitHub's own client for Node, unmodified, against any base URL. It follows `Link`, redirects, and the address for uploads
// that an answer names. Prints a summary as JSON; exit code 0 only if everything held.

import { createHash, randomBytes } from 'node:crypto'
import { parseArgs } from 'node:util'

import { Octokit } from '@octokit/rest'

import { onlyConnectTo, triedElsewhere } from '../common/guard.mjs'
import { failure, summarize } from '../common/summary.mjs'

const { values: options } = parseArgs({ options: { url: { type: 'string' }, token: { type: 'string' } } })
if (!options.url || !options.token) throw new Error('--url URL and --token TOKEN are needed')
onlyConnectTo(Number(new URL(options.url).port))

const REPO = { owner: 'octo', repo: 'hello' }
const quiet = { debug() {}, info() {}, warn() {}, error() {} }
const octokitWith = (auth) => new Octokit({ auth, baseUrl: options.url, log: quiet })

await summarize(async (holds) => {
  const octokit = octokitWith(options.token)

  const issues = await octokit.paginate(octokit.rest.issues.listForRepo, { ...REPO, per_page: 10 })
  const numbers = new Set(issues.map(({ number }) => number))
  holds('every issue is listed once, link by link', numbers.size >= 95 && numbers.size === issues.length)

  const headers = { 'idempotency-key': randomBytes(16).toString('hex') }
  const created = await octokit.rest.issues.create({ ...REPO, title: 'Made', headers })
  holds('the new issue is told with its place', created.status === 201 && created.data.title === 'Made')
  holds('its place is on this host', created.headers.location.startsWith(options.url))

  const invalid = await failure(octokit.rest.issues.create({ ...REPO }))
  holds('what is invalid is an error with its parts', invalid?.status === 422 && invalid?.response.data.errors[0].field === 'title')
  const missing = await failure(octokit.rest.issues.get({ ...REPO, issue_number: 123_456 }))
  holds('what is missing is an error with its status', missing?.name === 'HttpError' && missing?.status === 404)
  const refused = await failure(octokitWith('of-somebody').rest.repos.get(REPO))
  holds('a refusal of the host is an error with its status', refused?.status === 401)
  // It reads a message from `application/json` alone, and not from a problem document.
  holds('it says what the host says', /authorization.*is needed/.test(refused?.message ?? ''))

  const known = await octokit.rest.repos.get(REPO)
  const unchanged = await failure(octokit.rest.repos.get({ ...REPO, headers: { 'if-none-match': known.headers.etag } }))
  holds('what has not changed is not sent again', known.status === 200 && unchanged?.status === 304)

  const { data: release } = await octokit.rest.repos.getRelease({ ...REPO, release_id: 1 })
  const data = randomBytes(300_000)
  const asset = await octokit.rest.repos.uploadReleaseAsset({
    ...REPO, release_id: 1, url: release.upload_url, name: 'a.bin', data, headers: { 'content-type': 'application/octet-stream' },
  })
  holds('the upload arrives whole', asset.data.label === createHash('sha256').update(data).digest('hex'))

  const archive = await octokit.rest.repos.downloadTarballArchive({ ...REPO, ref: 'main', request: { parseSuccessResponseBody: false } })
  let bytes = 0
  for await (const piece of archive.data) bytes += piece.length
  holds('the download is as long as what was sent', bytes === 64 * 64 * 1024)

  holds(`nothing goes elsewhere: ${triedElsewhere()}`, triedElsewhere().length === 0)
  return { issues: numbers.size, bytes }
})
