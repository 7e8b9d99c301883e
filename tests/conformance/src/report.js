// The table, the counts, and whether the run passed.

/**
 * Prints the report of all lines; answers whether nothing is wrong, how many of the vendor's operations were
 * covered, and which of ours no document covers.
 */
export function report(lines, documents, print = console.log) {
  const rows = lines.flatMap(({ line, rows }) => rows.map((row) => ({ line, ...row })))
  const cells = rows.map((row) => [
    row.name,
    row.line,
    String(row.requests.length),
    String(row.requests.filter((request) => request.outcome === 'rejected').length),
    String(row.requests.filter((request) => request.outcome === 'unmatched').length),
    row.answer,
  ])
  table(['operation', 'line', 'sent', 'rejected', 'unmatched', 'answer'], cells, print)

  const requests = rows.flatMap((row) => row.requests.map((request) => ({ row, request })))
  const undocumented = count(requests.filter(({ request }) => request.outcome === 'undocumented').map(({ request }) => `${request.method} ${request.path}`))
  print('\nrequests for which no document exists (allowed, answered by the front):')
  if (undocumented.size === 0) print('  none')
  for (const [target, times] of undocumented) print(`  ${target}  x${times}`)

  print('\nvendor operations covered:')
  const accepted = requests.filter(({ request }) => request.outcome === 'accepted')
  const covered = new Set(accepted.map(({ request }) => request.operation))
  for (const { file, operations } of documents) {
    const own = operations.filter((operation) => covered.has(operation))
    print(`  ${file}: ${own.length} of ${operations.length}`)
    for (const { method, template } of own) print(`    ${method} ${template}`)
  }
  const all = documents.reduce((sum, { operations }) => sum + operations.length, 0)

  const wrong = rows.flatMap((row) => {
    const complaints = row.requests.flatMap((request) =>
      request.complaints.map((complaint) => `${request.outcome}: ${request.method} ${request.path}: ${complaint}`)
    )
    return [...row.problems, ...complaints].map((problem) => `${row.line} ${row.name}: ${problem}`)
  })
  if (wrong.length > 0) {
    print('\nwrong:')
    for (const one of wrong) print(`  ${one}`)
  }
  const outcome = (name) => requests.filter(({ request }) => request.outcome === name).length
  print(
    `\n${wrong.length === 0 ? 'conforms' : 'DOES NOT CONFORM'}: ${rows.length} calls, ${requests.length} requests, ` +
      `${outcome('rejected')} rejected, ${outcome('unmatched')} unmatched, ${covered.size} of ${all} vendor operations covered`
  )
  const uncovered = rows.filter(({ requests }) => requests.some(({ outcome }) => outcome === 'undocumented'))
  return {
    passed: wrong.length === 0 && rows.length > 0,
    covered: covered.size,
    all,
    undocumented: [...new Set(uncovered.map(({ name }) => name.replace(/^action /, '')))].sort(),
  }
}

function count(items) {
  const counts = new Map()
  for (const item of items) counts.set(item, (counts.get(item) ?? 0) + 1)
  return counts
}

function table(header, rows, print) {
  const widths = header.map((name, at) => Math.max(name.length, ...rows.map((row) => row[at].length)))
  const line = (row) => row.map((cell, at) => cell.padEnd(widths[at])).join('  ').trimEnd()
  print(line(header))
  print(widths.map((width) => '-'.repeat(width)).join('  '))
  rows.forEach((row) => print(line(row)))
}
