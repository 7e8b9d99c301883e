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
  if ('status' in adapted && 'completedAt' in adapted) adapted.status = 'COMPLETE'
  if (Array.isArray(body?.inputs) && adapted.results.length > 0) {
    adapted.results = body.inputs.map((input) => written(adapted.results[0], input))
  } else {
    adapted.results = adapted.results.map((one) => ('id' in one ? record(one, wanted(query, body)) : one))
  }
  if (Array.isArray(body?.filterGroups)) return search(body.filterGroups, adapted)
  return adapted
}

/** A search finds the made-up record only where its filters let it: or walking by time would never end. */
function search(groups, answer) {
  const fits = (one) => groups.length === 0 || groups.some(({ filters }) => filters.every((filter) => admits(filter, one)))
  const results = answer.results.filter(fits)
  const { paging, ...rest } = answer
  return { ...rest, ...(paging && results.length > 0 && { paging }), results, total: results.length }
}

/** Filters on the id and on dates count; what Prism makes up for anything else says nothing. */
function admits({ propertyName, operator, value, highValue }, one) {
  if (propertyName !== 'hs_object_id' && !propertyName.endsWith('date')) return true
  const own = propertyName === 'hs_object_id' ? Number(one.id) : Date.parse(one.updatedAt)
  const number = (text) => (/^-?\d+$/.test(text) ? Number(text) : Date.parse(text))
  const holds = {
    EQ: () => own === number(value),
    NEQ: () => own !== number(value),
    LT: () => own < number(value),
    LTE: () => own <= number(value),
    GT: () => own > number(value),
    GTE: () => own >= number(value),
    BETWEEN: () => own >= number(value) && own <= number(highValue),
  }[operator]
  return holds ? holds() : true
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
