// The records of the mock Salesforce org, and the little SOQL that it understands.

/** What a query can ask for. */
const FIELDS = ['Id', 'FirstName', 'LastName', 'Email', 'CreatedDate']
const WRITABLE = FIELDS.filter((field) => !['Id', 'CreatedDate'].includes(field))

/** A query: fields, object, one equality, a limit. Keywords in any case. */
const SOQL = /^\s*select\s+([\w\s,]+?)\s+from\s+(\w+)(?:\s+where\s+(\w+)\s*=\s*'((?:[^'\\]|\\.)*)')?(?:\s+limit\s+(\d+))?\s*$/i

/** An answer with an error, in Salesforce's shape. */
export class Problem extends Error {
  constructor(status, code, message, fields) {
    super(message)
    this.status = status
    this.body = [{ message, errorCode: code, ...(fields ? { fields } : {}) }]
  }
}

export class Contacts {
  #records = []

  /** With this many to begin with: the same ones each time. */
  constructor(count) {
    for (let n = 0; n < count; n += 1) {
      this.#add({ FirstName: 'Contact', LastName: `Number ${n}`, Email: `contact.${n}@org.example.com` })
    }
  }

  create(object, values) {
    known(object)
    const unknown = Object.keys(values).find((field) => !WRITABLE.includes(field))
    if (unknown) throw new Problem(400, 'INVALID_FIELD', `No such column '${unknown}' on sobject of type Contact`, [unknown])
    if (!values.LastName) {
      throw new Problem(400, 'REQUIRED_FIELD_MISSING', 'Required fields are missing: [LastName]', ['LastName'])
    }
    return this.#add(values).Id
  }

  get(object, id) {
    known(object)
    const record = this.#records.find(({ Id }) => Id === id)
    if (!record) throw new Problem(404, 'NOT_FOUND', 'The requested resource does not exist')
    return record
  }

  /** All that a query finds, with the fields that it names. */
  find(soql) {
    const [matched, list, object, field, quoted, limit] = SOQL.exec(soql) ?? []
    if (!matched) throw new Problem(400, 'MALFORMED_QUERY', 'the query is not understood')
    known(object)
    const fields = list.split(',').map((name) => column(name.trim()))
    const value = quoted?.replace(/\\(.)/g, '$1')
    const found = field ? this.#records.filter((record) => record[column(field)] === value) : this.#records
    const bounded = limit === undefined ? found : found.slice(0, Number(limit))
    return bounded.map((record) => Object.fromEntries(fields.map((name) => [name, record[name]])))
  }

  #add(values) {
    const n = this.#records.length
    // Ids of contacts begin with 003 and have fifteen digits, and three more that a mock may choose.
    const record = { Id: `003${String(n).padStart(12, '0')}AAA`, FirstName: null, Email: null, ...values }
    // There is no clock: the same requests get the same answers.
    record.CreatedDate = '2026-01-01T00:00:00.000+0000'
    this.#records.push(record)
    return record
  }
}

function known(object) {
  if (object.toLowerCase() !== 'contact') throw new Problem(404, 'NOT_FOUND', 'The requested resource does not exist')
}

function column(name) {
  const field = FIELDS.find((one) => one.toLowerCase() === name.toLowerCase())
  if (!field) throw new Problem(400, 'INVALID_FIELD', `No such column '${name}' on entity 'Contact'`)
  return field
}
