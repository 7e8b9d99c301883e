// The count of operations in the repository's README.md: written by a run, and held against every later one.

const SECTION = /<!-- conformance (\S+) -->\n[^]*?<!-- \/conformance -->/

/** README.md with what this run found. */
export function recorded(readme, found) {
  if (!SECTION.test(readme)) throw new Error('README.md has no section between <!-- conformance … --> and <!-- /conformance -->')
  return readme.replace(SECTION, () => section(found))
}

/**
 * What is wrong with README.md: it must say what this run found. Of other documents than those it was
 * counted with, it says nothing, and only a note is due.
 */
export function difference(readme, found) {
  const there = SECTION.exec(readme)
  if (!there) return { wrong: 'README.md has no count of operations; `tests/conformance/run --record FOLDER` needs its place' }
  if (there[1] !== found.documents) {
    return { note: `note: README.md counts other documents (${there[1]}) than these (${found.documents})` }
  }
  if (there[0] === section(found)) return {}
  const expected = `README.md does not say what this run found: ${found.covered} of ${found.all} operations`
  return { wrong: `${expected}; \`tests/conformance/run --record FOLDER\` writes it` }
}

// The marks are for the runner, the sentences for readers.
function section({ covered, all, undocumented, documents }) {
  const sentences =
    `Conformance: of the vendor's ${all} published operations the two lines use ${covered}. Each was sent, through the real host, to ` +
    "a server that validates requests by the vendor's own OpenAPI documents, and none was refused ([how](tests/conformance/README.md))."
  return [`<!-- conformance ${documents} -->`, ...wrap(`${sentences}${exception(undocumented)}`), '<!-- /conformance -->'].join('\n')
}

function exception(undocumented) {
  if (undocumented.length === 0) return ''
  const names = undocumented.map((name) => `\`${name}\``).join(', ')
  return (
    ` Not among them: ${names}. None of the documents covers its path, so the runner answers it itself, and nothing ` +
    'holds that request against anything of the vendor.'
  )
}

const WIDTH = 120

function wrap(text) {
  const lines = ['']
  for (const word of text.split(' ')) {
    const line = lines.at(-1)
    if (line === '') lines[lines.length - 1] = word
    else if (line.length + 1 + word.length <= WIDTH) lines[lines.length - 1] = `${line} ${word}`
    else lines.push(word)
  }
  return lines
}
