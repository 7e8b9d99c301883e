//! The provider's endpoints, as its OpenAPI documents have them, in the paths of one generation.

use std::marker::PhantomData;

use keyway_sdk::{Http, RateLimitHeaders, Request, Response, Result, send_all};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::Generation;
use crate::errors;
use crate::object::Object;

/// The one host.
pub(crate) const HOST: &str = "api.hubapi.com";

/// The one credential.
pub(crate) const SLOT: &str = "token";

/// Records on a page of a list; pages of a search are read as large.
pub(crate) const PAGE_MAX: u32 = 100;

/// Records on a page of a search, at most.
pub(crate) const SEARCH_PAGE_MAX: u32 = 200;

/// Inputs of one batch.
pub(crate) const BATCH_MAX: usize = 100;

/// `after` of a search's first page, which the documents do not let one leave out.
pub(crate) const SEARCH_BEGIN: &str = "0";

/// Where answers say how the limit of ten seconds stands.
pub(crate) fn rate_limit_headers() -> RateLimitHeaders {
    RateLimitHeaders::of("default")
        .limit("X-HubSpot-RateLimit-Max")
        .remaining("X-HubSpot-RateLimit-Remaining")
        .window_ms("X-HubSpot-RateLimit-Interval-Milliseconds")
}

/// The endpoints of a generation.
pub(crate) struct Endpoints<G> {
    http: Http,
    generation: PhantomData<G>,
}

/// A page of a list or of a search.
#[derive(Deserialize)]
pub(crate) struct Collection {
    pub(crate) results: Vec<Stored>,
    #[serde(default)]
    paging: Paging,
}

#[derive(Deserialize, Default)]
struct Paging {
    next: Option<Next>,
}

#[derive(Deserialize)]
struct Next {
    after: String,
}

/// A record as the provider answers it. The properties stay text: a page of them is only passed on.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Stored {
    pub(crate) id: String,
    pub(crate) properties: Box<RawValue>,
    pub(crate) updated_at: String,
    #[serde(default)]
    pub(crate) archived_at: Option<String>,
    #[serde(default)]
    pub(crate) object_write_trace_id: Option<String>,
    /// Of an upsert: whether it made the record.
    #[serde(default)]
    pub(crate) new: Option<bool>,
}

/// A search. The documents require every member but `query`, `after` included.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Search {
    pub(crate) filter_groups: Vec<Value>,
    /// Names of properties, ascending.
    pub(crate) sorts: Vec<String>,
    pub(crate) properties: Vec<String>,
    pub(crate) limit: u32,
    pub(crate) after: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) query: Option<String>,
}

/// Which records to list.
pub(crate) struct List<'a> {
    pub(crate) archived: bool,
    pub(crate) after: Option<&'a str>,
    pub(crate) limit: u32,
    pub(crate) properties: &'a [String],
}

/// What to read of records that are known by their ids.
pub(crate) struct Wanted<'a> {
    /// Another property than the provider's id that identifies them.
    pub(crate) by: Option<&'a str>,
    pub(crate) archived: bool,
    pub(crate) properties: &'a [String],
}

/// What becomes of the inputs of a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Batch {
    Create,
    Update,
    Upsert,
    Archive,
}

// === impl Collection ===

impl Collection {
    /// Where the next page begins.
    pub(crate) fn next(&self) -> Option<&str> {
        self.paging.next.as_ref().map(|next| next.after.as_str())
    }
}

// === impl Batch ===

impl Batch {
    const fn path(self) -> &'static str {
        match self {
            Self::Create => "batch/create",
            Self::Update => "batch/update",
            Self::Upsert => "batch/upsert",
            Self::Archive => "batch/archive",
        }
    }
}

// === impl Endpoints ===

impl<G: Generation> Endpoints<G> {
    pub(crate) fn new() -> Self {
        let http = Http::new().slot(SLOT).header("accept", "application/json");
        Self { http: http.errors(errors::of_response), generation: PhantomData }
    }

    pub(crate) fn list(&self, object: Object, list: &List<'_>) -> Result<Collection> {
        let mut request = self
            .http
            .get(G::objects(object.name()))
            .query("limit", list.limit)
            .query("archived", list.archived);
        if let Some(after) = list.after {
            request = request.query("after", after);
        }
        named(request, list.properties).send()?.json()
    }

    pub(crate) fn search<S: Serialize>(&self, object: Object, search: &S) -> Result<Response> {
        self.http.post(format!("{}/search", G::objects(object.name()))).json(search).send()
    }

    /// One record; `by` names another property than the provider's id that identifies it.
    pub(crate) fn get(
        &self,
        object: Object,
        id: &str,
        by: Option<&str>,
        archived: bool,
        properties: &[String],
    ) -> Result<Response> {
        let mut request =
            self.http.get(G::objects(object.name())).segment(id).query("archived", archived);
        if let Some(by) = by {
            request = request.query("idProperty", by);
        }
        named(request, properties).send()
    }

    /// Writes a batch of at most [`BATCH_MAX`] inputs. 207 is a success in part.
    pub(crate) fn batch<I: Serialize>(
        &self,
        object: Object,
        batch: Batch,
        inputs: &[I],
    ) -> Result<Response> {
        #[derive(Serialize)]
        struct Body<'a, I> {
            inputs: &'a [I],
        }
        let path = format!("{}/{}", G::objects(object.name()), batch.path());
        self.http.post(path).json(&Body { inputs }).send()
    }

    /// Reads at most [`BATCH_MAX`] records, of any number of properties. 207 says which do not exist.
    pub(crate) fn batch_read(
        &self,
        object: Object,
        ids: &[&str],
        wanted: &Wanted<'_>,
    ) -> Result<Response> {
        let path = format!("{}/batch/read", G::objects(object.name()));
        let inputs: Vec<_> = ids.iter().map(|id| json!({"id": id})).collect();
        let mut body = json!({
            "inputs": inputs,
            "properties": wanted.properties,
            // The documents require it, empty or not.
            "propertiesWithHistory": [],
        });
        if let Some(by) = wanted.by {
            body["idProperty"] = by.into();
        }
        self.http.post(path).query("archived", wanted.archived).json(&body).send()
    }

    /// The properties of several objects, fetched together.
    pub(crate) fn properties(&self, objects: &[Object]) -> Vec<Result<Response>> {
        let request =
            |object: &Object| self.http.get(G::properties(object.name())).query("archived", false);
        send_all(objects.iter().map(request).collect())
    }

    pub(crate) fn account_info(&self) -> Result<Response> {
        self.http.get(G::ACCOUNT_INFO).send()
    }
}

/// The documents declare `properties` as an exploded form parameter: one pair a name.
fn named(request: Request, properties: &[String]) -> Request {
    properties.iter().fold(request, |request, name| request.query("properties", name))
}
