// Child processes: started here, and ended here whatever happens. Never one that somebody else started.

import { spawn } from 'node:child_process'

const PATIENCE_MS = 5_000

/** The processes of one run. */
export class Children {
  #running = new Set()

  /** Starts a program; `ready` looks at each line of its output and answers once it has seen enough. */
  start(name, program, args, { ready, env, timeoutMs = 60_000, onLine = () => {} }) {
    const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, ...env } })
    this.#running.add(child)
    child.once('exit', () => this.#running.delete(child))
    return new Promise((resolve, reject) => {
      const said = []
      const fail = (why) => reject(new Error(`${name} ${why}\n${said.slice(-20).join('\n')}`))
      const timer = setTimeout(() => fail('was not ready in time'), timeoutMs)
      const settle = (then) => (value) => (clearTimeout(timer), then(value))
      child.once('error', settle((error) => fail(`did not start: ${error.message}`)))
      child.once('exit', settle((code, signal) => fail(`ended: ${code ?? signal}`)))
      const look = (line) => {
        said.push(line)
        onLine(line)
        const seen = ready(line)
        if (seen !== undefined) settle(resolve)(seen)
      }
      lines(child.stdout, look)
      lines(child.stderr, look)
    })
  }

  /** Ends them all, and waits for it. */
  async stop() {
    await Promise.all([...this.#running].map(end))
  }

  /** For the last moment, when nothing can be waited for. */
  kill() {
    for (const child of this.#running) child.kill('SIGKILL')
  }
}

function end(child) {
  return new Promise((resolve) => {
    const timer = setTimeout(() => child.kill('SIGKILL'), PATIENCE_MS)
    child.once('exit', () => (clearTimeout(timer), resolve()))
    child.kill('SIGTERM')
  })
}

function lines(stream, each) {
  let rest = ''
  stream.setEncoding('utf8')
  stream.on('data', (text) => {
    const parts = (rest + text).split('\n')
    rest = parts.pop()
    parts.forEach(each)
  })
}
