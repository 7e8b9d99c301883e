//! Handlers: parse, ask one service, render. One file a noun.

pub(crate) mod audit;
pub(crate) mod calls;
pub(crate) mod clients;
pub(crate) mod config;
pub(crate) mod connect;
pub(crate) mod connections;
pub(crate) mod exchanges;
pub(crate) mod health;
pub(crate) mod keys;
pub(crate) mod logged;
mod logs;
pub(crate) mod moves;
pub(crate) mod obtain;
pub(crate) mod pins;
pub(crate) mod proxy;
pub(crate) mod quotas;
pub(crate) mod releases;
pub(crate) mod tenants;
pub(crate) mod tokens;

use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use keyway_core::{Code, Fault};
use serde::Serialize;
use tracing::Instrument as _;

use crate::problem::Refusal;

/// What a handler answers.
type Answer = Result<Response, Refusal>;

/// Runs a change to its end, even if the caller hangs up in between: a commit whose second half, such
/// as showing a route, never ran would leave the host at odds with its store.
pub(crate) async fn finish<T: Send + 'static>(
    change: impl Future<Output = Result<T, Fault>> + Send + 'static,
) -> Result<T, Fault> {
    match tokio::spawn(change.in_current_span()).await {
        Ok(done) => done,
        Err(error) => Err(Fault::new(Code::Internal, "a change ended early").caused_by(error)),
    }
}

/// A JSON answer.
fn json(value: &impl Serialize) -> Answer {
    json_as(StatusCode::OK, value)
}

fn json_as(status: StatusCode, value: &impl Serialize) -> Answer {
    let bytes = serde_json::to_vec(value)
        .map_err(|error| Fault::new(Code::Internal, "an answer is no JSON").caused_by(error))?;
    let mut response = json_text(bytes);
    *response.status_mut() = status;
    Ok(response)
}

/// An answer that is JSON text already.
fn json_text(text: impl Into<Body>) -> Response {
    let mut response = Response::new(text.into());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// An answer without a body.
fn nothing() -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}
