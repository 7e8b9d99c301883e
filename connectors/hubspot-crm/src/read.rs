//! Reading pages: lists, searches by time and by id, archived records. [`crate::cursor`] says how they follow.

use keyway_sdk::time::OffsetDateTime;
use keyway_sdk::time::format_description::well_known::Rfc3339;
use keyway_sdk::{Failure, Page, ReadRequest, Record, Result, from_json};
use serde_json::{Map, Value, json};

use crate::Generation;
use crate::api::{Collection, Endpoints, List, SEARCH_BEGIN, Search, Stored, Wanted};
use crate::config::Config;
use crate::cursor::{Cursor, Millis, Step, millis_of};
use crate::object::Object;
use crate::wide;

/// Ids are numbers, and the property that holds them sorts as such.
const ID: &str = "hs_object_id";

pub(crate) fn read<G: Generation>(request: &ReadRequest) -> Result<Page> {
    let object = Object::parse(&request.object)?;
    if request.page_size == 0 {
        return Err(Failure::invalid_input("a page of no records never ends"));
    }
    let config = Config::load()?;
    let reading = Reading {
        endpoints: Endpoints::<G>::new(),
        object,
        cursor: Cursor::resume(G::API, request)?,
        properties: config.properties(object, &request.fields),
        limit: config.page_size(request.page_size),
    };
    match reading.cursor.step.clone() {
        Step::Live { after } => reading.live(after.as_deref()),
        Step::Changed { from, strict } => reading.changed(from, strict),
        Step::Tied { at, above } => reading.tied(at, above),
        Step::Archived { after } => reading.archived(after.as_deref()),
    }
}

/// One page in the making.
struct Reading<G> {
    endpoints: Endpoints<G>,
    object: Object,
    cursor: Cursor,
    properties: Vec<String>,
    limit: u32,
}

impl<G: Generation> Reading<G> {
    fn live(&self, after: Option<&str>) -> Result<Page> {
        let found = self.list(false, after)?;
        let next = Some(found.next().map_or(Step::Archived { after: None }, |after| Step::Live {
            after: Some(after.to_owned()),
        }));
        self.page(self.records(false, found.results)?, next)
    }

    fn archived(&self, after: Option<&str>) -> Result<Page> {
        let found = self.list(true, after)?;
        let next = found.next().map(|after| Step::Archived { after: Some(after.to_owned()) });
        let mut admitted = Vec::with_capacity(found.results.len());
        for stored in found.results {
            let at = stored.archived_at.as_ref().unwrap_or(&stored.updated_at).clone();
            if self.cursor.admits(millis(&at)?) {
                admitted.push(Stored { archived_at: Some(at), ..stored });
            }
        }
        self.page(self.records(true, admitted)?, next)
    }

    fn changed(&self, from: Option<Millis>, strict: bool) -> Result<Page> {
        let modified = self.object.modified();
        let operator = if strict { "GT" } else { "GTE" };
        let bounds = [
            from.map(|from| filter(modified, operator, from)),
            self.cursor.until.map(|until| filter(modified, "LTE", until)),
        ];
        let found = self.search(bounds.into_iter().flatten().collect(), modified)?;
        let (first, last) = match (found.next(), &found.results[..]) {
            (Some(_), [first, .., last]) => (self.modified(first)?, self.modified(last)?),
            (Some(_), [only]) => (self.modified(only)?, self.modified(only)?),
            _ => {
                let records = self.records(false, found.results)?;
                return self.page(records, Some(Step::Archived { after: None }));
            }
        };
        // Anything else would ask for the same page for ever.
        if last < first || from.is_some_and(|from| first < from) {
            return Err(Failure::contract("provider's search is not in the order asked for"));
        }
        if first == last {
            return self.page(Vec::new(), Some(Step::Tied { at: last, above: 0 }));
        }
        let mut before = Vec::with_capacity(found.results.len());
        for stored in found.results {
            if self.modified(&stored)? < last {
                before.push(stored);
            }
        }
        let records = self.records(false, before)?;
        self.page(records, Some(Step::Changed { from: Some(last), strict: false }))
    }

    fn tied(&self, at: Millis, above: u64) -> Result<Page> {
        let filters = vec![filter(self.object.modified(), "EQ", at), filter(ID, "GT", above)];
        let found = self.search(filters, ID)?;
        let next = match (found.next(), found.results.last()) {
            (Some(_), Some(last)) => {
                let id = &last.id;
                let above = id
                    .parse()
                    .map_err(|_| Failure::contract(format!("record id `{id}` is no number")))?;
                Step::Tied { at, above }
            }
            _ => Step::Changed { from: Some(at), strict: true },
        };
        self.page(self.records(false, found.results)?, Some(next))
    }

    fn list(&self, archived: bool, after: Option<&str>) -> Result<Collection> {
        let (limit, properties) = (self.limit, self.asked_for());
        self.endpoints.list(self.object, &List { archived, after, limit, properties: &properties })
    }

    fn search(&self, filters: Vec<Value>, sort: &str) -> Result<Collection> {
        let search = Search {
            filter_groups: vec![json!({"filters": filters})],
            sorts: vec![sort.to_owned()],
            properties: self.asked_for(),
            limit: self.limit,
            // Always the first page: where a search goes on is in its filters.
            after: SEARCH_BEGIN.to_owned(),
            query: None,
        };
        self.endpoints.search(self.object, &search)?.json()
    }

    /// What a list or a search is asked for: everything, or what positions are made of.
    fn asked_for(&self) -> Vec<String> {
        match wide::wide(&self.properties) {
            true => vec![self.object.modified().to_owned()],
            false => self.properties.clone(),
        }
    }

    /// What was found, as records. Where they stand is decided by what a search said of them, which is what its filters
    /// go by; what is read by id afterwards may have changed since, and then comes once more.
    fn records(&self, archived: bool, found: Vec<Stored>) -> Result<Vec<Record>> {
        if !wide::wide(&self.properties) {
            return found.into_iter().map(record).collect();
        }
        let ids: Vec<&str> = found.iter().map(|stored| stored.id.as_str()).collect();
        let wanted = Wanted { by: None, archived, properties: &self.properties };
        let whole = wide::whole(&self.endpoints, self.object, &ids, &wanted)?;
        let mut records = Vec::with_capacity(found.len());
        for stored in found {
            // What is gone by now will be found again among the archived ones.
            let Some(whole) = whole.get(&stored.id) else { continue };
            let whole: Stored = from_json(whole.get().as_bytes()).map_err(|error| {
                Failure::contract(format!("record is not as documented: {error}"))
            })?;
            records.push(record(Stored { archived_at: stored.archived_at, ..whole })?);
        }
        Ok(records)
    }

    fn page(&self, records: Vec<Record>, next: Option<Step>) -> Result<Page> {
        match next {
            Some(step) => Page::with_next(records, &self.cursor.at(step)),
            None => Ok(Page::last(records)),
        }
    }

    /// When a record last changed, by the property that the search sorts by.
    fn modified(&self, stored: &Stored) -> Result<Millis> {
        let name = self.object.modified();
        let properties: Map<String, Value> = from_json(stored.properties.get().as_bytes())
            .map_err(|error| Failure::contract(format!("properties are no object: {error}")))?;
        // A search finds no record without the property; where it is left out all the same, the record
        // says the same time itself.
        millis(properties.get(name).and_then(Value::as_str).unwrap_or(&stored.updated_at))
    }
}

fn filter(property: &str, operator: &str, value: impl ToString) -> Value {
    json!({"propertyName": property, "operator": operator, "value": value.to_string()})
}

fn millis(text: &str) -> Result<Millis> {
    OffsetDateTime::parse(text, &Rfc3339)
        .map(millis_of)
        .map_err(|error| Failure::contract(format!("`{text}` is not RFC 3339: {error}")))
}

/// The properties alone are the record: that is what `discover` describes. One that is archived changed last when it was.
fn record(stored: Stored) -> Result<Record> {
    let record = Record::new(stored.id, &stored.properties)?;
    Ok(match stored.archived_at {
        Some(at) => record.updated_at(at).deleted(),
        None => record.updated_at(stored.updated_at),
    })
}
