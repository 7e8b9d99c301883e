//! The host about itself: alive, ready, counted, described; and what its error codes mean.

use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::response::Response;
use keyway_core::{Code, Fault};

use super::{Answer, json, json_text};
use crate::api::Host;
use crate::contract::token::State as HostState;
use crate::contract::{METRICS_TYPE, PAGE_TYPE};
use crate::place::Names;
use crate::ports::Readiness;
use crate::{openapi, pages};

pub(crate) async fn alive() -> Answer {
    json(&HostState { state: "alive".to_owned(), components_lost: None })
}

pub(crate) async fn ready(State(api): State<Host>) -> Answer {
    let Readiness { components_lost } = api.health.ready().await?;
    // Degraded and not unready: what runs goes on, and a host that is taken out of service serves nobody.
    let state = match components_lost {
        None => "looking",
        Some(0) => "ready",
        Some(_) => "degraded",
    };
    let components_lost = components_lost.filter(|lost| *lost > 0);
    json(&HostState { state: state.to_owned(), components_lost })
}

pub(crate) async fn metrics(State(api): State<Host>) -> Answer {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &api.registry)
        .map_err(|error| Fault::new(Code::Internal, "metrics").caused_by(error))?;
    let mut response = Response::new(Body::from(text));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(METRICS_TYPE));
    Ok(response)
}

pub(crate) async fn code(names: Names) -> Answer {
    let page = pages::page(&names.get::<String>("code")?)
        .ok_or_else(|| Fault::new(Code::NoSuchEndpoint, "no code has this name"))?;
    let mut response = Response::new(Body::from(page));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(PAGE_TYPE));
    Ok(response)
}

pub(crate) async fn openapi() -> Response {
    json_text(openapi::text())
}
