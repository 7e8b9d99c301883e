// A small proxy of our own for tests of the vendors' clients: it takes one key, puts the vendor's credential in its place, and
// has links to the vendor lead back. What it does wrong on purpose, a client has to find out.

import { once } from 'node:events'
import http from 'node:http'

const HOSTS = { 'api.stripe.example': 'stripe', 'acme.zendesk.example': 'zendesk', 'api.github.example': 'github', 'uploads.github.example': 'uploads' }
const ELSEWHERE = '/keyway-host='
const message = '`authorization` is needed: this host did not issue the token'
const REFUSAL = JSON.stringify({ message, error: { message } })

/** How long one that passes nothing on waits for all of an answer, which does not come. */
const WHOLE_MS = 500

/** Starts one for a vendor. `wrong` changes what it passes on: `request(options)`, `data(bytes)`, and `whole`. */
export async function lead(vendors, vendor, { key, credential, wrong = {} }) {
  const server = http.createServer((request, response) => {
    relay(request, response).catch(() => response.destroy())
  })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const url = `http://127.0.0.1:${server.address().port}`

  async function relay(request, response) {
    const { authorization = '' } = request.headers
    const told = [authorization, Buffer.from(authorization.replace(/^Basic /, ''), 'base64').toString('latin1')]
    if (!told.some((text) => text.includes(key))) {
      request.resume()
      return response.writeHead(401, { 'content-type': 'application/json' }).end(REFUSAL)
    }
    const [, host, rest] = /^\/keyway-host=([^/]+)(.*)$/.exec(request.url) ?? [undefined, undefined, request.url]
    const options = { port: vendors[host ? HOSTS[host] : vendor], path: rest, method: request.method, agent: false }
    options.headers = { ...request.headers, authorization: credential }
    wrong.request?.(options)
    const onward = http.request({ host: '127.0.0.1', ...options })
    request.pipe(onward)
    const [answer] = await once(onward, 'response')
    await answerWith(answer, response)
  }

  async function answerWith(answer, response) {
    const headers = { ...answer.headers, 'keyway-call': 'call_1' }
    for (const name of ['link', 'location']) if (headers[name]) headers[name] = led(headers[name])
    if (!/json/.test(headers['content-type'] ?? '')) {
      response.writeHead(answer.statusCode, headers)
      if (wrong.whole && answer.statusCode === 200) return setTimeout(() => response.destroy(), WHOLE_MS)
      for await (const data of answer) response.write(wrong.data?.(data) ?? data)
      return response.end()
    }
    let text = ''
    for await (const data of answer.setEncoding('utf8')) text += data
    delete headers['content-length']
    response.writeHead(answer.statusCode, headers).end(led(text))
  }

  const led = (text) => text.replace(/https:\/\/([a-z.]+\.example)(?=[/"])/g, (link, host) => {
    if (!HOSTS[host]) return link
    return HOSTS[host] === vendor ? url : `${url}${ELSEWHERE}${host}`
  })
  const stop = () => {
    server.closeAllConnections()
    server.close()
  }
  return { url, stop }
}
