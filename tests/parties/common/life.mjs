// How a party that serves lives: it says once, as a line of JSON, that it is ready, and ends when it is told to.

/** Everything that a library has to say goes to standard error: standard output has the line of `ready` alone. */
export function quietOutput() {
  for (const method of ['log', 'info', 'debug']) console[method] = console.error
}

/** Prints the one line. With `withStdin`, the end of standard input, and so of whoever started us, is our end. */
export function ready(facts, { withStdin = false } = {}) {
  for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(0))
  if (withStdin) process.stdin.once('end', () => process.exit(0)).resume()
  process.stdout.write(`${JSON.stringify(facts)}\n`)
}
