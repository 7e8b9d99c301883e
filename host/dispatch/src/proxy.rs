//! A caller's own request, sent as the pinned release would be allowed to: the call path without a guest.
//!
//! Permit and route are held until the last byte of the response is through, so that a pause or a drain waits for it as
//! for a call.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, SizeHint};
use keyway_core::exchange::{Origin, Relay, Relayed, Streamed};
use keyway_core::ids::{CallId, Slot};
use keyway_core::ports::{RelayCall, Route};
use keyway_core::quota::LimitMet;
use keyway_core::release::ReleaseRef;
use keyway_core::{Code, Descriptor, Fault, Whose};

use crate::admission::Permit;
use crate::limit;
use crate::service::{Deadline, Shared};

/// A response's body, and what is held for it.
struct Through {
    body: Streamed,
    _permit: Permit,
    _route: Arc<Route>,
}

// === impl Shared ===

impl Shared {
    /// Carries one request.
    pub(crate) async fn relay(
        &self,
        id: CallId,
        call: RelayCall,
        release: &mut Option<ReleaseRef>,
    ) -> Result<Relay, Fault> {
        let RelayCall { installation, user, pace, time, request } = call;
        let deadline = Deadline::within(time, self.config.call_time_max);
        let permit = self.admission.admit(&installation.environment, &installation.tenant)?;
        let route = self.routes.resolve(&installation)?;
        *release = Some(route.connector.release().clone());
        let descriptor = route.connector.descriptor();
        let request = Relayed { slot: slot(descriptor, request.slot)?, ..request };
        let origin = Origin {
            call: id,
            installation,
            user,
            pace,
            limit_met: LimitMet::default(),
            release: route.connector.release().clone(),
            descriptor: Arc::clone(descriptor),
            base_url: route.settings.base_url.clone(),
            // Nothing was waited for so far.
            time_left: deadline.whole(),
        };
        let running = self.metrics.running();
        let result = self.ways.proxy.relay(&origin, request).await.map_err(|failure| {
            let fault = limit::explain(Fault::from(failure), &origin.limit_met);
            // There is no connector in it: what the host refused, the caller asked for.
            match fault.code {
                Code::Denied | Code::RequestTooLarge => fault.blame(Whose::Tenant),
                _ => fault,
            }
        });
        drop(running);
        let fault = result.as_ref().err();
        self.metrics.ended("proxy", route.connector.release(), deadline.began.elapsed(), fault);
        let Relay { status, headers, body } = result?;
        let body = Through { body, _permit: permit, _route: route }.boxed_unsync();
        Ok(Relay { status, headers, body })
    }
}

/// The slot that a request uses: the one it names, or the only one there is.
fn slot(descriptor: &Descriptor, named: Option<Slot>) -> Result<Option<Slot>, Fault> {
    if let Some(slot) = named {
        if descriptor.slots.contains_key(&slot) {
            return Ok(Some(slot));
        }
        let detail = format!("{} declares no slot `{slot}`", descriptor.name);
        let fault = Fault::new(Code::UnknownSlot, detail);
        return Err(fault.but_there_is(descriptor.slots.keys()));
    }
    let mut slots = descriptor.slots.keys();
    match (slots.next(), slots.next()) {
        (only, None) => Ok(only.cloned()),
        _ => {
            let detail = format!("{} declares more than one slot: name one", descriptor.name);
            Err(Fault::new(Code::InvalidRequest, detail))
        }
    }
}

impl Body for Through {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<std::io::Result<Frame<Bytes>>>> {
        Pin::new(&mut self.get_mut().body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_named_unless_there_is_but_one() {
        let descriptor = |slots: &str| {
            let text = format!(r#"{{"format":1,"name":"a/b","version":"1.0.0","slots":{slots}}}"#);
            Descriptor::parse(&text).unwrap()
        };
        let named = |text: &str| Some(text.parse::<Slot>().unwrap());
        let (none, one) =
            (descriptor("{}"), descriptor(r#"{"token":{"scheme":{"kind":"bearer"}}}"#));
        let two = r#"{"a":{"scheme":{"kind":"bearer"}},"b":{"scheme":{"kind":"basic"}}}"#;
        let two = descriptor(two);
        assert_eq!(slot(&none, None).unwrap(), None);
        assert_eq!(slot(&one, None).unwrap(), named("token"));
        assert_eq!(slot(&two, named("b")).unwrap(), named("b"));
        assert_eq!(slot(&two, None).unwrap_err().code, Code::InvalidRequest);
        assert_eq!(slot(&one, named("other")).unwrap_err().code, Code::UnknownSlot);
    }
}
