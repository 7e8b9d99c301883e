//! Every reason for which an exchange ends without a response, with the stable code that a connector
//! reads in `failure.code` and the kind it is reported as.
//!
//! One line a reason. Whether anything was sent is not a property of the reason: the exchange knows.

use std::borrow::Cow;
use std::time::Duration;

use keyway_core::call::{Failure, FailureKind};

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $kind:ident;)*) => {
        /// Why an exchange ended without a response.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum Reason { $($(#[$doc])* $name,)* }

        impl Reason {
            /// Every reason.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The stable code.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// What a connector is told that it is.
            pub const fn kind(self) -> FailureKind {
                match self { $(Self::$name => FailureKind::$kind,)* }
            }
        }
    };
}

reasons! {
    // --- policy: the request as the connector wrote it ---
    /// The method is no upper-case token, or is CONNECT or TRACE.
    MethodRefused = "method-refused", Denied;
    /// The URL is not one, or holds bytes that a URL does not have.
    UrlMalformed = "url-malformed", Denied;
    /// The URL is longer than `url-bytes-max`.
    UrlTooLong = "url-too-long", Denied;
    /// Two parsers do not read the same destination from the URL, so nobody can say where it leads.
    UrlAmbiguous = "url-ambiguous", Denied;
    /// The scheme is not `https`.
    SchemeRefused = "scheme-refused", Denied;
    /// The URL carries a user or a password.
    UserinfoRefused = "userinfo-refused", Denied;
    /// The URL begins with `/`, and neither the connection nor the descriptor has a base URL.
    BaseUrlMissing = "base-url-missing", Denied;
    /// The connection's base URL is one that this release does not allow.
    BaseUrlRefused = "base-url-refused", Denied;
    /// A header's name is no token, or its value holds bytes that a field value does not have.
    HeaderMalformed = "header-malformed", Denied;
    /// The header is the host's to set: credentials, framing, routing.
    HeaderForbidden = "header-forbidden", Denied;
    /// More headers, or more bytes of them, than a request may have.
    HeadersTooLarge = "headers-too-large", Denied;
    /// The header or query parameter is where a declared slot's credential goes.
    CredentialPlaceTaken = "credential-place-taken", Denied;
    /// The body is larger than `request-body-bytes-max`.
    RequestBodyTooLarge = "request-body-too-large", Denied;
    /// The body holds a token of this host, which no provider may have.
    TokenInBody = "token-in-body", Denied;

    // --- policy: where it leads ---
    /// No host of the descriptor admits this name and port.
    UndeclaredHost = "undeclared-host", Denied;
    /// The operator's policy does not admit the host.
    HostNotAllowed = "host-not-allowed", Denied;
    /// The name of a cloud metadata service.
    HostMetadata = "host-metadata", Denied;
    /// The wildcard that would admit the host stands on a public suffix.
    HostWildcardTooBroad = "host-wildcard-too-broad", Denied;

    // --- resolve, classify ---
    /// The name does not exist.
    DnsNoName = "dns-no-name", Transient;
    /// The name exists and has no address.
    DnsNoAddress = "dns-no-address", Transient;
    /// The resolver failed.
    DnsFailed = "dns-failed", Transient;
    /// The resolver did not answer within `dns-timeout`.
    DnsTimeout = "dns-timeout", Transient;
    /// The name has more addresses than `addresses-max`.
    DnsTooManyAddresses = "dns-too-many-addresses", Denied;
    /// Every address of the host is one that nothing may be sent to.
    AddressBlocked = "address-blocked", Denied;
    /// Some addresses of the host are public and some are blocked, as when a name is being rebound.
    AddressesMixed = "addresses-mixed", Denied;

    // --- budget ---
    /// No permit came free in the time that the exchange had.
    BudgetExhausted = "budget-exhausted", Transient;
    /// The provider's rate limit leaves no place in the time that the call has; nothing was sent.
    RateLimited = "rate-limited-here", RateLimited;

    // --- inject ---
    /// The descriptor declares no such slot.
    UndeclaredSlot = "undeclared-slot", Denied;
    /// The slot has no credential.
    CredentialMissing = "credential-missing", Unauthenticated;
    /// The credential does not fit the slot's scheme, or cannot stand where the scheme puts it.
    CredentialUnfit = "credential-unfit", Unauthenticated;
    /// The connection is paused.
    ConnectionPaused = "connection-paused", Unauthenticated;
    /// The provider took the connection's rights away.
    NeedsReauth = "needs-reauth", Unauthenticated;
    /// Whether the provider issued a new token is not known.
    RefreshUncertain = "refresh-uncertain", Unauthenticated;
    /// The token's time is over, and refreshing is on hold.
    RefreshHeld = "refresh-held", Unauthenticated;
    /// The environment has no OAuth client for the connector.
    OauthClientMissing = "oauth-client-missing", Unauthenticated;
    /// The release names another host for tokens than the environment's OAuth client was set for.
    OauthClientUnconfirmed = "oauth-client-unconfirmed", Unauthenticated;
    /// The provider does not take the environment's OAuth client.
    OauthClientRefused = "oauth-client-refused", Unauthenticated;
    /// The provider's token endpoint does not answer as it should.
    TokenEndpointFailed = "token-endpoint-failed", Transient;
    /// Whoever holds the credentials failed.
    CredentialUnavailable = "credential-unavailable", Transient;

    // --- dial ---
    /// No connection came free for it in the exchange's time: this host has as many open as `connections-max`.
    ConnectionsExhausted = "connections-exhausted", Transient;
    /// No address of the host accepted a connection.
    ConnectFailed = "connect-failed", Transient;
    /// No connection within `connect-timeout`.
    ConnectTimeout = "connect-timeout", Transient;
    /// The TLS handshake failed: certificate, name, version.
    TlsFailed = "tls-failed", Transient;

    // --- send ---
    /// The connection ended before the response did.
    ConnectionLost = "connection-lost", Transient;
    /// No response within `first-byte-timeout`.
    FirstByteTimeout = "first-byte-timeout", Transient;
    /// Nothing for `between-bytes-timeout` in the middle of a body.
    BodyStalled = "body-stalled", Transient;
    /// The exchange's time was over.
    ExchangeTimeout = "exchange-timeout", Transient;
    /// The response breaks HTTP: framing, field syntax, status.
    ResponseMalformed = "response-malformed", Contract;
    /// More response headers, or more bytes of them, than are read.
    ResponseHeadersTooLarge = "response-headers-too-large", Contract;
    /// More interim (1xx) responses than are read.
    TooManyInterim = "too-many-interim", Contract;
    /// The body is larger than `response-body-bytes-max`, as sent or as decoded.
    ResponseBodyTooLarge = "response-body-too-large", Contract;

    // --- decode ---
    /// The body is coded in a way that was not asked for, or more than once.
    EncodingRefused = "encoding-refused", Contract;
    /// The body does not decode.
    EncodingMalformed = "encoding-malformed", Contract;
    /// The body grows by more than `inflation-max` when decoded.
    InflationTooLarge = "inflation-too-large", Contract;

    // --- redirects ---
    /// A redirect without a `Location`, with more than one, or with one that is no URL.
    RedirectMalformed = "redirect-malformed", Contract;
    /// More redirects than the descriptor asks for.
    TooManyRedirects = "too-many-redirects", Contract;
    /// A redirect to another origin whose URL holds the credential of this one.
    RedirectLeaksCredential = "redirect-leaks-credential", Denied;
    /// A redirect back to a request that was sent already.
    RedirectLoop = "redirect-loop", Contract;
}

/// An exchange that ends here.
#[derive(Debug)]
pub(crate) struct Stop {
    pub(crate) reason: Reason,
    /// One lower-case fragment; holds no secret, no query and nothing that an upstream wrote.
    pub(crate) detail: Cow<'static, str>,
    /// After which another attempt may do better, where that is known.
    retry_after: Option<Duration>,
}

// === impl Stop ===

impl Stop {
    /// Of a body that holds a token of this host.
    pub(crate) fn token_in_body() -> Self {
        Self::new(
            Reason::TokenInBody,
            "the body holds a token of this host, which no provider may have",
        )
    }

    pub(crate) fn new(reason: Reason, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { reason, detail: detail.into(), retry_after: None }
    }

    /// Worth another attempt after so long.
    pub(crate) fn after(self, wait: Duration) -> Self {
        Self { retry_after: Some(wait), ..self }
    }

    /// In the contract's terms.
    pub(crate) fn failure(self, request_sent: bool) -> Failure {
        Failure {
            kind: self.reason.kind(),
            code: Some(self.reason.as_str().to_owned()),
            message: self.detail.into_owned(),
            retry_after: self.retry_after,
            request_sent,
            extra: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use keyway_core::{Code, Fault};

    use super::*;

    #[test]
    fn causes_have_codes_of_their_own() {
        for reason in
            Reason::ALL.iter().copied().filter(|reason| reason.kind() == FailureKind::Denied)
        {
            let expected = match reason {
                Reason::HostNotAllowed | Reason::HostWildcardTooBroad => Code::HostNotAllowed,
                Reason::AddressBlocked | Reason::AddressesMixed | Reason::DnsTooManyAddresses => {
                    Code::AddressBlocked
                }
                Reason::BaseUrlMissing => Code::BaseUrlMissing,
                Reason::BaseUrlRefused => Code::BaseUrlRefused,
                Reason::UrlTooLong | Reason::HeadersTooLarge | Reason::RequestBodyTooLarge => {
                    Code::RequestTooLarge
                }
                // What a connector asks for and may not have, whoever is the operator and however it is connected.
                Reason::MethodRefused
                | Reason::UrlMalformed
                | Reason::UrlAmbiguous
                | Reason::SchemeRefused
                | Reason::UserinfoRefused
                | Reason::HeaderMalformed
                | Reason::HeaderForbidden
                | Reason::CredentialPlaceTaken
                | Reason::TokenInBody
                | Reason::UndeclaredHost
                | Reason::HostMetadata
                | Reason::UndeclaredSlot
                | Reason::RedirectLeaksCredential => Code::Denied,
                other => panic!("{other:?} has no cause"),
            };
            assert_eq!(Fault::from(Stop::new(reason, "x").failure(false)).code, expected);
        }
    }

    #[test]
    fn lengths_have_codes_of_their_own() {
        for reason in Reason::ALL.iter().copied() {
            let length = ["too-large", "too-long"].iter().any(|end| reason.as_str().ends_with(end));
            let fault = Fault::from(Stop::new(reason, "x").failure(false));
            let expected = match reason.kind() {
                FailureKind::Denied if length => Code::RequestTooLarge,
                FailureKind::Contract if length => Code::ResponseTooLarge,
                _ => {
                    assert!(!length, "{reason:?} is a length of another kind");
                    continue;
                }
            };
            assert_eq!(fault.code, expected, "{reason:?}");
        }
    }

    #[test]
    fn codes_are_unique() {
        let texts: HashSet<_> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
        assert_eq!(texts.len(), Reason::ALL.len());
    }
}
