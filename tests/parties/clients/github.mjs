// GitHub's own client for Node, unmodified, against any base URL. It follows `Link`, redirects, and the address for uploads
// that an answer names. Prints a summary as JSON; exit code 0 only if everything held.

import { randomUUID } from 'node:crypto'
import { parseArgs } from 'node:util'

import { Octokit } from '@octokit/rest'

import { bytesOf, file, read, sha256 } from '../common/bytes.mjs'
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

  const list = async () => (await octokit.paginate(octokit.rest.issues.listForRepo, { ...REPO, per_page: 10 })).map(({ number }) => number)
  const before = await list()
  holds('every issue is listed once, link by link', before.length >= 95 && new Set(before).size === before.length)

  const create = (key) => octokit.rest.issues.create({ ...REPO, title: 'Made', headers: { 'idempotency-key': key } })
  const key = randomUUID()
  const [created, again, other] = [await create(key), await create(key), await create(randomUUID())]
  holds('the new issue is told with its place', created.status === 201 && created.data.title === 'Made')
  holds('its place is on this host', created.headers.location.startsWith(options.url))
  const made = [created.data.number, other.data.number]
  holds('the same key makes one issue, another key another', again.data.number === made[0] && made[0] !== made[1])
  const more = (await list()).filter((number) => !before.includes(number))
  holds('no other is there than these two', JSON.stringify(more) === JSON.stringify(made))

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
  const changed = await octokit.rest.repos.get({ ...REPO, headers: { 'if-none-match': '"other"' } })
  holds('what has changed is sent', changed.status === 200 && changed.data.full_name === 'octo/hello')

  const { data: release } = await octokit.rest.repos.getRelease({ ...REPO, release_id: 1 })
  const data = bytesOf('an upload', 300_000)
  const asset = await octokit.rest.repos.uploadReleaseAsset({
    ...REPO, release_id: 1, url: release.upload_url, name: 'a.bin', data, headers: { 'content-type': 'application/octet-stream' },
  })
  holds('the upload arrives whole', asset.data.label === sha256(data))

  const archive = await octokit.rest.repos.downloadTarballArchive({ ...REPO, ref: 'main', request: { parseSuccessResponseBody: false } })
  const got = await read(archive.data, () => octokit.rest.repos.get(REPO))
  holds('the download is what was sent, piece by piece', JSON.stringify(got) === JSON.stringify(file()))

  holds(`nothing goes elsewhere: ${triedElsewhere()}`, triedElsewhere().length === 0)
  return { issues: before.length, bytes: got.bytes }
})
