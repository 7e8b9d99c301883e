// What the parties' own tests share: starting a party, a certificate, and requests to a server that has a name but no
// address.

import { execFileSync, spawn } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import http from 'node:http'
import https from 'node:https'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

export const ISSUER = 'https://auth.example.test'

const PARTIES = fileURLToPath(new URL('..', import.meta.url))

/** Starts a party that serves, and answers what it printed when it was ready. `stop` ends it. */
export async function start(script, args) {
  const child = spawn(process.execPath, [path.join(PARTIES, script), ...args, '--exit-with-stdin'], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  const ended = new Promise((resolve) => child.once('exit', resolve))
  const line = await Promise.race([
    new Promise((resolve) => createInterface(child.stdout).once('line', resolve)),
    ended.then((code) => Promise.reject(new Error(`${script} ended: ${code}`))),
  ])
  const stop = async () => {
    child.stdin.end()
    await ended
  }
  return { ...JSON.parse(line), stop }
}

/** Runs a party that does one thing, and answers its exit code, its output and what it said besides. */
export async function run(script, args) {
  const child = spawn(process.execPath, [path.join(PARTIES, script), ...args], { stdio: ['ignore', 'pipe', 'pipe'] })
  let [output, said] = ['', '']
  child.stdout.setEncoding('utf8').on('data', (text) => (output += text))
  child.stderr.setEncoding('utf8').on('data', (text) => (said += text))
  const code = await new Promise((resolve) => child.once('close', resolve))
  return { code, output, said, summary: output === '' ? undefined : JSON.parse(output) }
}

/** A certificate of the issuer's name, signed by itself, and its key, as files in a folder. */
export function certificate(folder) {
  const [cert, key] = ['cert.pem', 'key.pem'].map((name) => path.join(folder, name))
  const host = new URL(ISSUER).hostname
  execFileSync('openssl', [
    'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2', '-subj', `/CN=${host}`,
    '-addext', `subjectAltName=DNS:${host}`, '-keyout', key, '-out', cert,
  ], { stdio: 'pipe' })
  return { cert, key }
}

/** Starts the authorization server with these clients. */
export async function startAuth(folder, clients, more = []) {
  const { cert, key } = certificate(folder)
  const file = path.join(folder, 'clients.json')
  writeFileSync(file, JSON.stringify(clients))
  const server = await start('oauth/server.mjs', ['--cert', cert, '--key', key, '--clients', file, ...more])
  return { ...server, ca: readFileSync(cert) }
}

/** A request to the authorization server under its own name, the certificate checked. */
export function toAuth(server, method, target, { headers = {}, form } = {}) {
  const url = new URL(target, ISSUER)
  const body = form && new URLSearchParams(form).toString()
  if (form) headers = { ...headers, 'content-type': 'application/x-www-form-urlencoded' }
  const options = {
    method, headers: { host: url.host, ...headers }, host: '127.0.0.1', port: server.port, path: url.pathname + url.search,
    servername: url.hostname, ca: server.ca, agent: false,
  }
  return exchange(https.request(options), body)
}

/** A request to a control endpoint, which must succeed. */
export async function toControl(server, method, name, value) {
  const options = { method, host: '127.0.0.1', port: server.control, path: `/_control/${name}`, agent: false }
  const answer = await exchange(http.request(options), value === undefined ? undefined : JSON.stringify(value))
  if (answer.status >= 300) throw new Error(`${method} ${name}: ${answer.status} ${answer.text}`)
  return answer.json
}

function exchange(request, body) {
  return new Promise((resolve, reject) => {
    request.once('error', reject)
    request.once('response', async (response) => {
      let text = ''
      try {
        for await (const chunk of response) text += chunk
      } catch (error) {
        return reject(error)
      }
      const json = response.headers['content-type']?.startsWith('application/json') && text !== '' ? JSON.parse(text) : undefined
      resolve({ status: response.statusCode, headers: response.headers, text, json })
    })
    request.end(body)
  })
}
