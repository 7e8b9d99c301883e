// Makes Prism's answers such as a client can go on with. Requests are not touched.
//
// Prism fills a schema with the first thing that fits it: every page has a next page, so no read ever
// ends; a batch answers one record, whatever was sent; a status is the first of its enum; ids are words.
// What is changed here is only that. README.md lists it.

const ID = '512'

/** The answer to a request, from what Prism answered. */
export function adapt({ query, body }, answer) {
  if (answer === null || typeof answer !== 'object' || !Array.isArray(answer.results)) {
    if (answer && typeof answer === 'object' && 'id' in answer) return record(answer, wanted(query, body))
    return answer
  }
  const adapted = { ...answer }
  if (onwards(query.get('after')) || onwards(body?.after)) delete adapted.paging
  if ('total' in adapted) adapted.total = adapted.results.length
  if ('status' in adapted && 'completedAt' in adapted) adapted.status = 'COMPLETE'
  if (Array.isArray(body?.inputs) && adapted.results.length > 0) {
    adapted.results = body.inputs.map((input) => written(adapted.results[0], input))
  } else {
    adapted.results = adapted.results.map((one) => ('id' in one ? record(one, wanted(query, body)) : one))
  }
  return adapted
}

/** Whether a cursor is one that a page gave, not the beginning. */
function onwards(after) {
  return after !== undefined && after !== null && after !== '' && String(after) !== '0'
}

function wanted(query, body) {
  const listed = Array.isArray(body?.properties) ? body.properties : []
  return [...query.getAll('properties'), ...listed].flatMap((names) => String(names).split(','))
}

/** A record with a number for an id, and the dates that were asked for. */
function record(one, names) {
  const dates = names.filter((name) => name.endsWith('date')).map((name) => [name, one.updatedAt])
  const properties = { ...one.properties, ...Object.fromEntries(dates) }
  return { ...one, id: /^\d+$/.test(one.id) ? one.id : ID, properties }
}

/** The record that a batch answers for one of its inputs. */
function written(sample, input) {
  const id = input.id && !input.idProperty ? input.id : ID
  const properties = { ...sample.properties, ...input.properties }
  if (input.idProperty) properties[input.idProperty] = input.id
  const { objectWriteTraceId, ...rest } = sample
  const trace = input.objectWriteTraceId ? { objectWriteTraceId: input.objectWriteTraceId } : {}
  return { ...rest, ...trace, id, properties }
}
