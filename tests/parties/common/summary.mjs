// How a party that does one thing ends: a summary as a line of JSON, and exit code 0 only if everything held.

/** Runs `work`, which gets a function to say what must hold, and answers facts for the summary. */
export async function summarize(work) {
  const failed = []
  const holds = (what, condition) => {
    if (!condition) failed.push(what)
  }
  const facts = await work(holds).catch((error) => {
    failed.push(`${error.name}: ${error.message}`)
    return {}
  })
  process.stdout.write(`${JSON.stringify({ held: failed.length === 0, failed, ...facts })}\n`)
  process.exitCode = failed.length === 0 ? 0 : 1
}

/** What a promise fails with; undefined where it does not. */
export const failure = (promise) => promise.then(() => undefined, (error) => error)
