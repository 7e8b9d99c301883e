//! A caller's own request, sent as the pinned release would be allowed to: the call path without a guest.
//!
//! Permit and route are held until the last byte of the response is through, so that a pause or a drain waits for it as
//! for a call.

use std::sync::Arc;

use keyway_core::call::{Failure, FailureKind};
use keyway_core::exchange::{Origin, Relay, Relayed};
use keyway_core::ids::{CallId, Slot, User};
use keyway_core::ports::{Keeps, RelayCall, Route};
use keyway_core::quota::LimitMet;
use keyway_core::release::ReleaseRef;
use keyway_core::{Code, Descriptor, Fault};

use crate::arrival;
use crate::limit;
use crate::service::{Deadline, Shared};

/// Slots that a refusal lists: enough to find a misspelt one.
const SLOTS_LISTED_MAX: usize = 10;

// === impl Shared ===

impl Shared {
    /// Carries one request.
    pub(crate) async fn relay(
        &self,
        id: CallId,
        call: RelayCall,
        release: &mut Option<ReleaseRef>,
    ) -> Result<Relay, Fault> {
        let RelayCall { installation, user, pace, time, mut request } = call;
        let deadline = Deadline::within(time, self.config.call_time_max);
        let permit = self.admission.admit(&installation.environment, &installation.tenant)?;
        let route = self.routes.resolve(&installation)?;
        *release = Some(route.connector.release().clone());
        let descriptor = route.connector.descriptor();
        let slot = self.slot(&route, request.slot.take(), user.as_ref()).await?;
        let request = Relayed { slot, ..request };
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
        // Given back by the broker, which alone knows when the last byte is through, or that nobody takes it.
        let keeps = Box::new((permit, Arc::clone(&route), self.metrics.running()));
        let result = self.carried(&origin, request, &deadline, keeps).await;
        let fault = result.as_ref().err();
        self.metrics.ended("proxy", route.connector.release(), deadline.began.elapsed(), fault);
        result
    }
}

impl Shared {
    /// The exchange, up to where its answer begins.
    async fn carried(
        &self,
        origin: &Origin,
        request: Relayed,
        deadline: &Deadline,
        keeps: Keeps,
    ) -> Result<Relay, Fault> {
        let relay = self.ways.proxy.relay(origin, request, keeps).await;
        let Relay { status, headers, length, body } =
            relay.map_err(|failure| refused(limit::explain(failure.into(), &origin.limit_met)))?;
        let body =
            arrival::begin(body, length, deadline).await.map_err(|error| broken_off(&error))?;
        Ok(Relay { status, headers, length, body })
    }

    /// The slot that a request uses: the one it names, the only one there is, or the only one that is set.
    async fn slot(
        &self,
        route: &Route,
        named: Option<Slot>,
        user: Option<&User>,
    ) -> Result<Option<Slot>, Fault> {
        let descriptor = route.connector.descriptor();
        if named.is_some() || descriptor.slots.len() < 2 {
            return slot(descriptor, named);
        }
        let declared = descriptor.slots.keys();
        let set = match user {
            None => declared
                .filter(|slot| route.settings.connections.contains_key(*slot))
                .cloned()
                .collect(),
            Some(user) => {
                self.ways
                    .proxy
                    .connected(&route.installation, user, declared.cloned().collect())
                    .await?
            }
        };
        only(descriptor, set).map(Some)
    }
}

/// The slot that a request names, or the only one there is.
fn slot(descriptor: &Descriptor, named: Option<Slot>) -> Result<Option<Slot>, Fault> {
    let Some(slot) = named else { return Ok(descriptor.slots.keys().next().cloned()) };
    if descriptor.slots.contains_key(&slot) {
        return Ok(Some(slot));
    }
    let detail = format!("{} declares no slot `{slot}`", descriptor.name);
    Err(Fault::new(Code::UnknownSlot, detail).but_there_is(descriptor.slots.keys()))
}

/// The one slot of several that is set.
fn only(descriptor: &Descriptor, mut set: Vec<Slot>) -> Result<Slot, Fault> {
    let (code, detail) = match set.len() {
        1 => return Ok(set.remove(0)),
        0 => {
            let names = listed(descriptor.slots.keys());
            (Code::CredentialMissing, format!("none of the slots {names} has a credential"))
        }
        _ => {
            let names = listed(set.iter());
            (
                Code::InvalidRequest,
                format!("more than one slot has a credential, {names}: name one"),
            )
        }
    };
    Err(Fault::new(code, detail))
}

/// The first few of them.
fn listed<'s>(slots: impl Iterator<Item = &'s Slot>) -> String {
    let names: Vec<_> = slots.take(SLOTS_LISTED_MAX).map(|slot| format!("`{slot}`")).collect();
    names.join(", ")
}

/// There is no connector in it: what the host refused, the caller asked for. It is told with a code of a caller's mistakes:
/// clients of providers take a 5xx for something that passes, and try again.
fn refused(mut fault: Fault) -> Fault {
    if !matches!(fault.code, Code::Denied | Code::RequestTooLarge) {
        return fault;
    }
    fault.code = match fault.provider_code.as_deref() {
        Some("url-malformed" | "url-ambiguous") => Code::UrlMalformed,
        Some("method-refused") => Code::MethodNotAllowed,
        Some("request-body-too-large") => Code::BodyTooLarge,
        // Which of them it is, the provider's code says: an undeclared host, a credential's place, a length, a token.
        _ => Code::InvalidRequest,
    };
    fault.retry = fault.code.retry();
    let whose = fault.code.whose();
    fault.blame(whose)
}

/// An answer that ended before its caller was told of it. The body says why in the word that the log has.
fn broken_off(error: &std::io::Error) -> Fault {
    let failure = Failure {
        kind: FailureKind::Transient,
        code: Some(error.to_string()),
        message: "the provider's answer broke off before its end".to_owned(),
        retry_after: None,
        request_sent: true,
        extra: Vec::new(),
    };
    failure.into()
}

#[cfg(test)]
mod tests {
    use keyway_core::Whose;

    use super::*;

    #[test]
    fn a_slot_is_named_unless_there_is_but_one_or_one_is_set() {
        let descriptor = |slots: &str| {
            let text = format!(r#"{{"format":1,"name":"a/b","version":"1.0.0","slots":{slots}}}"#);
            Descriptor::parse(&text).unwrap()
        };
        let of = |text: &str| text.parse::<Slot>().unwrap();
        let (none, one) =
            (descriptor("{}"), descriptor(r#"{"token":{"scheme":{"kind":"bearer"}}}"#));
        let two = r#"{"a":{"scheme":{"kind":"bearer"}},"b":{"scheme":{"kind":"basic"}}}"#;
        let two = descriptor(two);
        assert_eq!(slot(&none, None).unwrap(), None);
        assert_eq!(slot(&one, None).unwrap(), Some(of("token")));
        assert_eq!(slot(&two, Some(of("b"))).unwrap(), Some(of("b")));
        let fault = slot(&two, Some(of("other"))).unwrap_err();
        assert_eq!(fault.code, Code::UnknownSlot);
        assert!(fault.detail.ends_with("there is `a`, `b`"), "{}", fault.detail);

        assert_eq!(only(&two, vec![of("b")]).unwrap(), of("b"));
        let unset = only(&two, vec![]).unwrap_err();
        assert_eq!(
            (unset.code, unset.detail.as_str()),
            (Code::CredentialMissing, "none of the slots `a`, `b` has a credential")
        );
        let both = only(&two, vec![of("a"), of("b")]).unwrap_err();
        assert_eq!(both.code, Code::InvalidRequest);
        assert!(both.detail.contains("`a`, `b`"), "{}", both.detail);
    }

    /// Catches a caller's mistake that a client takes for a failure that passes.
    #[test]
    fn what_a_caller_may_not_ask_for_is_the_callers_mistake() {
        let told = |code: &str| {
            let fault = refused(Failure::denied(code, "x").into());
            (fault.code, fault.whose(), fault.request_sent)
        };
        for (code, expected) in [
            ("url-malformed", Code::UrlMalformed),
            ("url-ambiguous", Code::UrlMalformed),
            ("url-too-long", Code::InvalidRequest),
            ("scheme-refused", Code::InvalidRequest),
            ("userinfo-refused", Code::InvalidRequest),
            ("method-refused", Code::MethodNotAllowed),
            ("header-malformed", Code::InvalidRequest),
            ("header-forbidden", Code::InvalidRequest),
            ("headers-too-large", Code::InvalidRequest),
            ("credential-place-taken", Code::InvalidRequest),
            ("request-body-too-large", Code::BodyTooLarge),
            ("token-in-body", Code::InvalidRequest),
            ("undeclared-host", Code::InvalidRequest),
            ("undeclared-slot", Code::InvalidRequest),
            ("host-metadata", Code::InvalidRequest),
            ("whatever-comes-to-be-refused", Code::InvalidRequest),
        ] {
            assert_eq!(told(code), (expected, Whose::Tenant, false), "{code}");
            assert!((400..500).contains(&expected.status()), "{code}");
        }
        // Not what the operator refuses, or has set.
        assert_eq!(told("host-not-allowed"), (Code::HostNotAllowed, Whose::Host, false));
        assert_eq!(told("address-blocked"), (Code::AddressBlocked, Whose::Host, false));
    }

    #[test]
    fn an_answer_that_broke_off_may_have_been_carried_out() {
        let fault = broken_off(&std::io::Error::other("connection-lost"));
        assert_eq!(
            (fault.code, fault.whose(), fault.request_sent),
            (Code::Transient, Whose::Upstream, true)
        );
        assert_eq!(fault.provider_code.as_deref(), Some("connection-lost"));
    }
}
