//! Reading: schemas, pages and cursors.

use std::collections::BTreeMap;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::{Extra, Failure, Result, from_json, json_text};

/// JSON Schema documents by object.
pub type Schemas = BTreeMap<String, Value>;

/// A connector that reads: the contract's interface `reader`.
pub trait Read {
    /// Schemas of the objects that this tenant really has, or of one of them.
    fn discover(object: Option<&str>) -> Result<Schemas> {
        let what = object.unwrap_or("objects");
        Err(Failure::unsupported(format!("schemas of {what} cannot be discovered")))
    }

    /// Reads one page.
    fn read(request: ReadRequest) -> Result<Page>;
}

/// Which page to read.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ReadRequest {
    /// Of what.
    pub object: String,
    /// Fields wanted; empty means the connector's default set.
    pub fields: Vec<String>,
    /// JSON text of where the last page ended. None starts from the beginning.
    pub cursor: Option<String>,
    /// RFC 3339 lower bound on modification time.
    pub since: Option<String>,
    /// RFC 3339 upper bound on modification time.
    pub until: Option<String>,
    /// Records wanted; a page may hold fewer.
    pub page_size: u32,
    /// Anything else.
    pub extra: Extra,
}

/// One provider object.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// The provider's id.
    pub id: String,
    /// RFC 3339.
    pub updated_at: Option<String>,
    /// Whether it is gone at the provider.
    pub deleted: bool,
    /// JSON text.
    pub data: String,
    /// Anything else.
    pub extra: Extra,
}

/// Records, and where the next page begins.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Page {
    /// In the provider's order.
    pub records: Vec<Record>,
    /// JSON text of the cursor of the next page; none ends the run. A page without records may still
    /// have a next one.
    pub next: Option<String>,
    /// Anything else.
    pub extra: Extra,
}

// === impl ReadRequest ===

impl ReadRequest {
    /// Asks for the first page of an object; a page size of 100.
    pub fn new(object: impl Into<String>) -> Self {
        Self { object: object.into(), page_size: 100, ..Self::default() }
    }

    /// The cursor as the connector wrote it. A cursor of another shape is the caller's fault.
    pub fn cursor_as<T: DeserializeOwned>(&self) -> Result<Option<T>> {
        let parse = |text: &String| {
            from_json(text.as_bytes()).map_err(|error| {
                Failure::invalid_input(format!("cursor is not one of this connector's: {error}"))
                    .code("cursor-unknown")
            })
        };
        self.cursor.as_ref().map(parse).transpose()
    }

    /// The lower bound on modification time.
    pub fn since_time(&self) -> Result<Option<OffsetDateTime>> {
        bound("since", self.since.as_deref())
    }

    /// The upper bound on modification time.
    pub fn until_time(&self) -> Result<Option<OffsetDateTime>> {
        bound("until", self.until.as_deref())
    }
}

fn bound(name: &str, text: Option<&str>) -> Result<Option<OffsetDateTime>> {
    let parse = |text| {
        OffsetDateTime::parse(text, &Rfc3339)
            .map_err(|error| Failure::invalid_input(format!("`{name}` is not RFC 3339: {error}")))
    };
    text.map(parse).transpose()
}

// === impl Record ===

impl Record {
    /// A record that exists.
    pub fn new<T: Serialize + ?Sized>(id: impl Into<String>, data: &T) -> Result<Self> {
        Ok(Self {
            id: id.into(),
            updated_at: None,
            deleted: false,
            data: json_text(data)?,
            extra: Extra::new(),
        })
    }

    /// With its modification time, RFC 3339.
    #[must_use]
    pub fn updated_at(mut self, at: impl Into<String>) -> Self {
        self.updated_at = Some(at.into());
        self
    }

    /// As one that is gone at the provider.
    #[must_use]
    pub fn deleted(mut self) -> Self {
        self.deleted = true;
        self
    }
}

// === impl Page ===

impl Page {
    /// The last page of a run.
    pub fn last(records: Vec<Record>) -> Self {
        Self { records, next: None, extra: Extra::new() }
    }

    /// A page with another behind it.
    pub fn with_next<C: Serialize + ?Sized>(records: Vec<Record>, cursor: &C) -> Result<Self> {
        Ok(Self { records, next: Some(json_text(cursor)?), extra: Extra::new() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FailureKind;

    #[test]
    fn bounds_are_rfc_3339_or_refused() {
        let mut request = ReadRequest::new("contacts");
        assert_eq!(request.since_time(), Ok(None));
        request.since = Some("2026-03-01T10:00:00+02:00".to_owned());
        assert_eq!(request.since_time().unwrap().unwrap().unix_timestamp(), 1_772_352_000);
        request.since = Some("yesterday".to_owned());
        assert_eq!(request.since_time().unwrap_err().kind, FailureKind::InvalidInput);
    }

    #[test]
    fn cursors_of_another_shape_are_refused() {
        let mut request = ReadRequest::new("contacts");
        assert_eq!(request.cursor_as::<u32>(), Ok(None));
        request.cursor = Some("7".to_owned());
        assert_eq!(request.cursor_as::<u32>(), Ok(Some(7)));
        request.cursor = Some("\"seven\"".to_owned());
        let failure = request.cursor_as::<u32>().unwrap_err();
        assert_eq!(failure.code.as_deref(), Some("cursor-unknown"));
    }
}
