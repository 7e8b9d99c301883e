//! Calls: an action, a discovery, a page, a batch. Each is one call through dispatch.
//!
//! JSON of callers, connectors and providers passes through as text. Dropping a handler, as a caller's
//! hanging up does, drops the call, and that ends the guest.

mod render;

use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::Response;
use keyway_core::call::{Extra, Operation, Output, ReadRequest, WriteItem, WriteRequest};
use keyway_core::descriptor::WriteOperation;
use keyway_core::exchange::Pace;
use keyway_core::ids::{Action, Installation, Object, User};
use keyway_core::ports::Call;
use keyway_core::shares::Payer;
use keyway_core::{Code, Digest, Fault};

use super::{Answer, json, json_text};
use crate::api::Host;
use crate::auth::Identity;
use crate::body::{Json, JsonText, SHORT_BYTES_MAX};
use crate::contract::{PACE_HEADER, TIMEOUT_HEADER, USER_HEADER, call as contract};
use crate::place::{At, Names};
use crate::problem::{Refusal, Trace};

// Parsed once: every call looks for each of them.
static TIMEOUT: HeaderName = HeaderName::from_static(TIMEOUT_HEADER);
pub(crate) static USER: HeaderName = HeaderName::from_static(USER_HEADER);
static PACE: HeaderName = HeaderName::from_static(PACE_HEADER);

pub(crate) async fn invoke(
    State(api): State<Host>,
    At(installation): At,
    who: Identity,
    names: Names,
    headers: HeaderMap,
    JsonText(input): JsonText,
) -> Answer {
    let action: Action = names.get("action")?;
    run(&api, installation, Operation::Invoke { action, input }, &headers, &who).await
}

pub(crate) async fn discover_all(
    State(api): State<Host>,
    At(installation): At,
    who: Identity,
    headers: HeaderMap,
) -> Answer {
    run(&api, installation, Operation::Discover { object: None }, &headers, &who).await
}

pub(crate) async fn discover(
    State(api): State<Host>,
    At(installation): At,
    who: Identity,
    names: Names,
    headers: HeaderMap,
) -> Answer {
    let object = Some(names.get("object")?);
    run(&api, installation, Operation::Discover { object }, &headers, &who).await
}

pub(crate) async fn read(
    State(api): State<Host>,
    At(installation): At,
    who: Identity,
    names: Names,
    headers: HeaderMap,
    Json(body): Json<contract::Read>,
) -> Answer {
    if body.page_size == Some(0) {
        return Err(Fault::new(Code::InputInvalid, "`page_size` is at least 1").into());
    }
    let request = ReadRequest {
        object: names.get("object")?,
        fields: body.fields,
        cursor: body.cursor.map(|cursor| cursor.get().to_owned()),
        since: body.since,
        until: body.until,
        // 0 leaves it to the release.
        page_size: body.page_size.unwrap_or_default(),
        extra: pairs(body.extra),
    };
    run(&api, installation, Operation::Read(request), &headers, &who).await
}

pub(crate) async fn write(
    State(api): State<Host>,
    At(installation): At,
    who: Identity,
    names: Names,
    headers: HeaderMap,
    Json(body): Json<contract::Write>,
) -> Answer {
    let object = names.get("object")?;
    // Each item has a key made of all of it.
    let bytes = body.items.iter().map(|item| item.data.get().len()).sum();
    let of = installation.clone();
    let make = move || Ok(write_request(&of, object, body));
    let request = in_turn(&api, &installation, bytes, make).await?;
    run(&api, installation, Operation::Write(request), &headers, &who).await
}

/// Runs one call and renders what came of it.
async fn run(
    api: &Host,
    installation: Installation,
    operation: Operation,
    headers: &HeaderMap,
    who: &Identity,
) -> Answer {
    let call = Call {
        time: timeout(headers)?,
        user: user(headers)?,
        pace: pace(headers)?,
        installation: installation.clone(),
        operation,
    };
    let answer = api.dispatch.call(call).await;
    let trace = Trace { call: answer.call, release: answer.release };
    let rendered = match answer.result {
        Ok(output) => {
            let bytes = render::bytes(&output);
            in_turn(api, &installation, bytes, move || body(output)).await
        }
        Err(fault) => Err(fault),
    };
    match rendered {
        Ok(mut response) => {
            trace.write(response.headers_mut());
            Ok(response)
        }
        Err(mut fault) => {
            if !who.operates() {
                fault.guest_said = None;
            }
            Err(Refusal::of_call(fault, trace))
        }
    }
}

/// Makes something of so many bytes of a tenant's; in the tenant's lane, if they are many.
async fn in_turn<T: Send + 'static>(
    api: &Host,
    installation: &Installation,
    bytes: usize,
    make: impl FnOnce() -> Result<T, Fault> + Send + 'static,
) -> Result<T, Fault> {
    if bytes <= SHORT_BYTES_MAX {
        return make();
    }
    let Installation { environment, tenant, .. } = installation;
    api.lanes.once(&Payer::Tenant(environment.clone(), tenant.clone()), make).await
}

fn body(output: Output) -> Result<Response, Fault> {
    let rendered = match output {
        Output::Json(text) => return Ok(json_text(text)),
        Output::Page(page) => json(&render::page(page)?),
        Output::Outcomes(outcomes) => json(&render::outcomes(outcomes)?),
    };
    rendered.map_err(|_| Fault::new(Code::Internal, "an answer is no JSON"))
}

/// The time that the caller gives the call.
pub(crate) fn timeout(headers: &HeaderMap) -> Result<Option<Duration>, Fault> {
    let Some(value) = headers.get(&TIMEOUT) else { return Ok(None) };
    let millis = value.to_str().ok().and_then(|text| text.parse::<u32>().ok());
    match millis {
        Some(millis) if millis > 0 => Ok(Some(Duration::from_millis(millis.into()))),
        _ => {
            let detail = format!("`{TIMEOUT_HEADER}` is a number of milliseconds, 1 or more");
            Err(Fault::new(Code::InvalidRequest, detail))
        }
    }
}

/// The user that the call is for.
pub(crate) fn user(headers: &HeaderMap) -> Result<Option<User>, Fault> {
    let Some(value) = headers.get(&USER) else { return Ok(None) };
    let user = value.to_str().ok().and_then(|text| text.parse().ok());
    user.map(Some).ok_or_else(|| {
        Fault::new(Code::InvalidName, format!("`{USER_HEADER}` is not the name of a user"))
    })
}

/// What is done when the provider asks to wait.
pub(crate) fn pace(headers: &HeaderMap) -> Result<Pace, Fault> {
    match headers.get(&PACE).map(HeaderValue::as_bytes) {
        None | Some(b"pass-through") => Ok(Pace::PassThrough),
        Some(b"throttle") => Ok(Pace::Throttle),
        Some(_) => {
            let detail = format!("`{PACE_HEADER}` is `pass-through` or `throttle`");
            Err(Fault::new(Code::InvalidRequest, detail))
        }
    }
}

fn write_request(
    installation: &Installation,
    object: Object,
    body: contract::Write,
) -> WriteRequest {
    let contract::Write { operation, match_on, items, all_or_none, extra } = body;
    let operation = match operation {
        contract::WriteOperation::Create => WriteOperation::Create,
        contract::WriteOperation::Update => WriteOperation::Update,
        contract::WriteOperation::Upsert => WriteOperation::Upsert,
        contract::WriteOperation::Delete => WriteOperation::Delete,
    };
    let items = items.into_iter().map(|item| WriteItem {
        idempotency_key: item.idempotency_key.clone().unwrap_or_else(|| {
            derive_key(installation, &object, operation, match_on.as_deref(), &item)
        }),
        reference: item.reference,
        id: item.id,
        data: item.data.get().to_owned(),
        extra: pairs(item.extra),
    });
    let items = items.collect();
    let extra = pairs(extra);
    WriteRequest { object, operation, match_on, items, all_or_none, extra }
}

fn pairs(extra: Vec<contract::Extra>) -> Extra {
    extra.into_iter().map(Into::into).collect()
}

/// The key of an item that came without one: the same item of the same installation has the same key,
/// whichever release writes it. Parts are told apart by their lengths; an absent one is not an empty one.
fn derive_key(
    installation: &Installation,
    object: &Object,
    operation: WriteOperation,
    match_on: Option<&str>,
    item: &contract::WriteItem,
) -> String {
    let installation = installation.to_string();
    let operation = match operation {
        WriteOperation::Create => "create",
        WriteOperation::Update => "update",
        WriteOperation::Upsert => "upsert",
        WriteOperation::Delete => "delete",
    };
    let parts = [
        Some(installation.as_str()),
        Some(object.as_str()),
        Some(operation),
        match_on,
        Some(&item.reference),
        item.id.as_deref(),
        Some(item.data.get()),
    ];
    let mut bytes = Vec::new();
    for part in parts {
        // One more than the length, so that 0 is free to mean absent.
        let length = part.map_or(0, |part| part.len() as u64 + 1);
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(part.unwrap_or_default().as_bytes());
    }
    Digest::of(&bytes).hex()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn keys(tenant: &str, body: Value) -> Vec<String> {
        let installation = Installation {
            environment: "dev".parse().unwrap(),
            tenant: tenant.parse().unwrap(),
            connector: "a/b".parse().unwrap(),
        };
        let body = serde_json::from_value(body).unwrap();
        let request = write_request(&installation, "contacts".parse().unwrap(), body);
        request.items.into_iter().map(|item| item.idempotency_key).collect()
    }

    #[test]
    fn keys_follow_from_everything_that_makes_a_write_another_write() {
        let item = json!({"reference": "1", "id": "7", "data": {"a": 1}});
        let body = |operation: &str, item: &Value| json!({"operation": operation, "items": [item]});
        let key = |body: Value| keys("acme", body).remove(0);
        let first = key(body("update", &item));
        assert_eq!(first, key(body("update", &item)), "the same write");
        assert_eq!(first.len(), 64);
        let mut others =
            vec![key(body("upsert", &item)), keys("other", body("update", &item)).remove(0)];
        let changes = [
            ("reference", json!("2")),
            ("id", json!("8")),
            ("id", json!(null)),
            ("data", json!({})),
        ];
        for (field, value) in changes {
            let mut item = item.clone();
            item[field] = value;
            others.push(key(body("update", &item)));
        }
        let mut matched = body("update", &item);
        matched["match_on"] = json!("email");
        others.push(key(matched));
        others.push(first);
        let count = others.len();
        others.sort();
        others.dedup();
        assert_eq!(others.len(), count, "all differ");
    }

    #[test]
    fn a_key_that_came_is_kept() {
        let item = json!({"reference": "1", "data": 1, "idempotency_key": "mine"});
        assert_eq!(keys("acme", json!({"operation": "create", "items": [item]})), ["mine"]);
    }

    #[test]
    fn timeouts_are_whole_milliseconds() {
        let of = |text: &str| {
            let headers = [(TIMEOUT_HEADER.parse().unwrap(), text.parse().unwrap())];
            timeout(&headers.into_iter().collect())
        };
        assert_eq!(of("250").unwrap(), Some(Duration::from_millis(250)));
        for bad in ["0", "-1", "1.5", "1s", "", "4294967296"] {
            assert_eq!(of(bad).unwrap_err().code, Code::InvalidRequest, "{bad}");
        }
    }
}
