//! An exchange as the API's JSON.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use keyway_core::exchange::Timings;
use keyway_exchanges::Kept;

use crate::contract::exchange::{
    Exchange, ExchangeBody, ExchangeHeader, ExchangeRequest, ExchangeResponse, ExchangeTimings,
};
use crate::handlers::releases::reference;

pub(super) fn exchange(kept: Kept) -> Exchange {
    let installation = kept.installation.as_ref();
    let response = kept.status.map(|status| ExchangeResponse {
        status,
        headers: headers(kept.response_headers),
        bytes: kept.response_bytes,
        body: kept.response_body.as_ref().map(body),
    });
    Exchange {
        id: kept.id.0,
        at: kept.at,
        call: kept.call.map(|call| call.to_string()),
        environment: kept.environment.map(|environment| environment.to_string()),
        tenant: installation.map(|of| of.tenant.to_string()),
        connector: installation.map(|of| of.connector.to_string()),
        user: kept.user.map(|user| user.to_string()),
        release: kept.release.as_ref().map(reference),
        purpose: kept.purpose,
        slot: kept.slot.map(|slot| slot.to_string()),
        request: ExchangeRequest {
            method: kept.method,
            url: kept.url,
            headers: headers(kept.request_headers),
            bytes: kept.request_bytes,
            body: kept.request_body.as_ref().map(body),
        },
        response,
        stopped: kept.stopped,
        timings: timings(kept.timings),
    }
}

fn headers(headers: Vec<(String, String)>) -> Vec<ExchangeHeader> {
    headers.into_iter().map(|(name, value)| ExchangeHeader { name, value }).collect()
}

fn body(bytes: &Bytes) -> ExchangeBody {
    match std::str::from_utf8(bytes) {
        Ok(text) => ExchangeBody { text: Some(text.to_owned()), base64: None },
        Err(_) => ExchangeBody { text: None, base64: Some(STANDARD.encode(bytes)) },
    }
}

fn timings(timings: Timings) -> ExchangeTimings {
    let millis = |time: Duration| time.as_secs_f64() * 1_000.0;
    ExchangeTimings {
        waited_ms: millis(timings.waited),
        connected_ms: millis(timings.connected),
        first_byte_ms: millis(timings.first_byte),
        total_ms: millis(timings.total),
    }
}
