// The guard lets a process reach one port, by whatever library, and says where else it was sent.

import assert from 'node:assert/strict'
import http from 'node:http'
import https from 'node:https'
import net from 'node:net'
import { test } from 'node:test'

import { onlyConnectTo, triedElsewhere } from '../common/guard.mjs'

const listening = () =>
  new Promise((resolve) => {
    const server = http.createServer((request, response) => response.end('here'))
    server.listen(0, '127.0.0.1', () => resolve(server))
  })

const get = (module, url) =>
  new Promise((resolve, reject) => {
    module.get(url, { agent: false }, (response) => response.resume().once('end', () => resolve(response.statusCode))).once('error', reject)
  })

test('one port is reachable, and every other way out is noted', async () => {
  const [here, other] = [await listening(), await listening()]
  const [port, otherPort] = [here.address().port, other.address().port]
  onlyConnectTo(port)
  for (const host of ['127.0.0.1', 'localhost', 'abc.localhost']) {
    assert.equal(await get(http, `http://${host}:${port}/`), 200, host)
    assert.equal(await (await fetch(`http://${host}:${port}/`)).text(), 'here', host)
  }
  assert.deepEqual(triedElsewhere(), [])
  await assert.rejects(get(http, `http://127.0.0.1:${otherPort}/`))
  await assert.rejects(get(https, `https://api.example.com/`))
  await assert.rejects(fetch(`http://192.0.2.1:${port}/`))
  await assert.rejects(new Promise((_, reject) => net.connect('/nowhere/nothing.sock').once('error', reject)), /nothing is sent/)
  assert.deepEqual(triedElsewhere(), [`127.0.0.1:${otherPort}`, 'api.example.com:443', `192.0.2.1:${port}`, '/nowhere/nothing.sock'])
  here.closeAllConnections()
  here.close()
  other.close()
})
