//! Puts a slot's credential on a request. The secret comes from the [`Credentials`] port, is marked
//! sensitive, and goes no further than the request; [`crate::scrub`] keeps it out of the response.
//!
//! A guest names a slot and nothing else; whose connection that is, the origin of its call says ([`reference`]). So there
//! is no id of another tenant's connection that it could ask with (C27). The secret stands where the slot's scheme puts
//! it: texts that a guest writes are no templates, and nothing in them is ever replaced by a secret (C28).

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use http::header::{AUTHORIZATION, HeaderName, HeaderValue};
use keyway_core::Fault;
use keyway_core::credential::Credential;
use keyway_core::descriptor::{Scheme, SlotSpec, TokenHeader};
use keyway_core::exchange::Origin;
use keyway_core::ids::{ConnectionRef, Slot};
use keyway_core::ports::{Credentials, Held, InUse};
use secrecy::ExposeSecret as _;
use zeroize::Zeroizing;

use crate::reason::{Reason, Stop};
use crate::scrub::{self, SECRET_BYTES_MIN, Scrubber, Secrets};
use crate::sign::Signer;

/// A credential, ready to be put on a request.
pub(crate) enum Injection {
    /// In a header.
    Header(HeaderName, HeaderValue),
    /// In the query.
    Parameter {
        /// As declared.
        name: String,
        /// `name=value`, encoded.
        encoded: Zeroizing<String>,
    },
    /// In headers and parameters that depend on the request.
    Signature(Signer),
}

/// A credential on loan for one exchange.
#[derive(Default)]
pub(crate) struct Loan {
    /// None where there is nothing to put on a request, or not any more.
    pub(crate) injection: Option<Arc<Injection>>,
    /// Finds it in a response, also after it was withdrawn.
    pub(crate) scrubber: Scrubber,
    /// Whose it is.
    pub(crate) slot: Option<Slot>,
    /// The provider's name of the account.
    pub(crate) account: Option<Arc<str>>,
    /// Where paths go with it, if the connection says.
    pub(crate) base_url: Option<Arc<str>>,
    version: u64,
    /// Whether a successor was asked for already.
    renewed: bool,
    /// Keeps the connection from being paused under the exchange.
    pub(crate) in_use: Option<Arc<dyn InUse>>,
}

/// A credential where a scheme puts it. Kept with the credential while that is open: it takes longer to make than to use.
#[derive(Clone)]
struct Placed {
    scheme: Arc<Scheme>,
    header: Option<TokenHeader>,
    injection: Option<Arc<Injection>>,
    scrubber: Scrubber,
}

/// The credential of the slot that the request asked for, if it did.
pub(crate) async fn lend(
    credentials: &dyn Credentials,
    origin: &Origin,
    slot: Option<Slot>,
) -> Result<Loan, Stop> {
    match slot {
        None => Ok(Loan::default()),
        Some(slot) => borrow(credentials, origin, slot).await,
    }
}

/// The slot of this name.
pub(crate) fn named(slot: &str) -> Result<Slot, Stop> {
    slot.parse().map_err(|_| undeclared())
}

fn undeclared() -> Stop {
    Stop::new(Reason::UndeclaredSlot, "the connector declares no credential slot of this name")
}

async fn borrow(credentials: &dyn Credentials, origin: &Origin, slot: Slot) -> Result<Loan, Stop> {
    let spec = origin.descriptor.slots.get(&slot).ok_or_else(undeclared)?;
    let of = reference(origin, &slot);
    let held = credentials
        .credential(&of, spec)
        .await
        .map_err(|fault| unavailable(origin, &slot, &fault))?
        .ok_or_else(|| {
            let whose = origin.user.as_ref().map_or("", |_| " of this user");
            let detail = format!("slot `{slot}` has no credential{whose}");
            Stop::new(Reason::CredentialMissing, detail)
        })?;
    loan(spec, slot, held)
}

/// After a 401: whether the loan now is of another credential, with which the request may be sent once more.
pub(crate) async fn renew(
    credentials: &dyn Credentials,
    origin: &Origin,
    loan: &mut Loan,
    status: StatusCode,
) -> Result<bool, Stop> {
    let (Some(slot), Some(_), false) = (&loan.slot, &loan.injection, loan.renewed) else {
        return Ok(false);
    };
    let spec = origin.descriptor.slots.get(slot).filter(|spec| spec.scheme.oauth().is_some());
    let Some(spec) = spec.filter(|_| status == StatusCode::UNAUTHORIZED) else { return Ok(false) };
    let of = reference(origin, slot);
    // Where there is no other, the provider's own answer says most.
    let Ok(Some(held)) = credentials.rejected(&of, spec, loan.version).await else {
        return Ok(false);
    };
    // Connected anew, to an account in another place: this request is on its way to the former.
    if held.base_url != loan.base_url {
        return Ok(false);
    }
    let renewed = self::loan(spec, slot.clone(), held)?;
    // A provider may echo the one that it has just rejected.
    let scrubber = std::mem::take(&mut loan.scrubber).and(&renewed.scrubber);
    *loan = Loan { scrubber, renewed: true, ..renewed };
    Ok(true)
}

fn reference(origin: &Origin, slot: &Slot) -> ConnectionRef {
    ConnectionRef {
        installation: origin.installation.clone(),
        slot: slot.clone(),
        user: origin.user.clone(),
    }
}

fn loan(spec: &SlotSpec, slot: Slot, held: Held) -> Result<Loan, Stop> {
    let Held { opened, version, account, base_url, in_use } = held;
    // Releases may declare different schemes for one slot.
    let fits = |placed: &Placed| *placed.scheme == spec.scheme && placed.header == spec.header;
    let placed = opened.made(fits, |credential| {
        let (injection, scrubber) = place(spec, credential)?;
        let (scheme, header) = (Arc::new(spec.scheme.clone()), spec.header.clone());
        Some(Placed { scheme, header, injection: injection.map(Arc::new), scrubber })
    });
    let Placed { injection, scrubber, .. } = placed.ok_or_else(|| {
        let detail = format!("the credential of slot `{slot}` does not fit its scheme");
        Stop::new(Reason::CredentialUnfit, detail)
    })?;
    Ok(Loan {
        injection,
        scrubber,
        slot: Some(slot),
        account,
        base_url,
        version,
        renewed: false,
        in_use: Some(in_use),
    })
}

/// What a connector is told where the credential cannot be had: the vault's own code, where it has one for it. The log
/// has the rest.
fn unavailable(origin: &Origin, slot: &Slot, fault: &Fault) -> Stop {
    tracing::warn!(
        call = %origin.call,
        installation = %origin.installation,
        fault = fault.chain(),
        "credential could not be had",
    );
    let code = fault.code.as_str();
    let known = Reason::ALL.iter().copied().find(|reason| reason.as_str() == code);
    let reason = known.unwrap_or(Reason::CredentialUnavailable);
    Stop::new(reason, format!("the connection of slot `{slot}` {}", ailment(reason)))
}

/// What may be said of it to a connector, which knows its slot and is not told whose it is.
const fn ailment(reason: Reason) -> &'static str {
    match reason {
        Reason::ConnectionPaused => "is paused",
        Reason::NeedsReauth => "must be connected again by a person",
        Reason::RefreshUncertain => "waits for a person: its refresh token may be spent",
        Reason::RefreshHeld => "has a token that is over, and refreshing is on hold",
        Reason::OauthClientMissing => "needs an OAuth client that the operator has not set",
        Reason::OauthClientUnconfirmed => {
            "would go to a host that its OAuth client was not set for"
        }
        Reason::OauthClientRefused => "has an OAuth client that the provider refuses",
        Reason::TokenEndpointFailed => {
            "cannot be refreshed: the provider's token endpoint does not answer as it should"
        }
        _ => "cannot be read",
    }
}

/// None where the credential cannot stand where the scheme puts it.
fn place(spec: &SlotSpec, credential: &Credential) -> Option<(Option<Injection>, Scrubber)> {
    let (injection, secrets) = match (&spec.scheme, credential) {
        (Scheme::None, Credential::None) => return Some((None, Scrubber::default())),
        (Scheme::Bearer | Scheme::Oauth2(_), Credential::Token(token)) => {
            let token = token.expose_secret();
            let (name, prefix) = match &spec.header {
                Some(header) => {
                    (HeaderName::from_bytes(header.name.as_bytes()).ok()?, &*header.prefix)
                }
                None => (AUTHORIZATION, "Bearer "),
            };
            let value = Zeroizing::new(format!("{prefix}{token}"));
            let secrets = Secrets::default().secret(token).sent(&value, token);
            (header(name, &value)?, secrets)
        }
        (Scheme::Basic, Credential::Basic { user, password }) => {
            basic(user.expose_secret(), password.expose_secret())?
        }
        (Scheme::ApiKeyHeader { name }, Credential::Token(token)) => {
            let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
            let token = token.expose_secret();
            (header(name, token)?, Secrets::default().secret(token))
        }
        (Scheme::ApiKeyQuery { name }, Credential::Token(token)) => {
            let token = token.expose_secret();
            let encode = |text: &str| scrub::percent_encoded(text.as_bytes(), b"", false);
            let encoded =
                Zeroizing::new(format!("{}={}", encode(name), *Zeroizing::new(encode(token))));
            let secrets = Secrets::default().secret(token);
            (Injection::Parameter { name: name.clone(), encoded }, secrets)
        }
        (scheme, credential) => {
            let signer = Signer::new(scheme, credential)?;
            (Injection::Signature(signer), signing_secrets(credential))
        }
    };
    Some((Some(injection), secrets.scrubber()))
}

/// What must not come back of a key. Its id is a name that is sent in the clear, and signatures are worth nothing elsewhere.
fn signing_secrets(credential: &Credential) -> Secrets {
    let secrets = Secrets::default();
    match credential {
        Credential::None => secrets,
        Credential::Token(key) | Credential::Basic { password: key, .. } => {
            secrets.secret(key.expose_secret())
        }
        Credential::Session { key, token, .. } => {
            secrets.secret(key.expose_secret()).secret(token.expose_secret())
        }
    }
}

/// The user is a name, which stands all over a tenant's data: it is no secret, unless there is no password, or only a
/// letter or two that fill its place, where a provider takes a key as the user.
fn basic(user: &str, password: &str) -> Option<(Injection, Secrets)> {
    // RFC 7617 section 2: the first colon ends the user.
    if user.contains(':') {
        return None;
    }
    let pair = Zeroizing::new(format!("{user}:{password}"));
    let encoded = Zeroizing::new(STANDARD.encode(&*pair));
    let value = Zeroizing::new(format!("Basic {}", *encoded));
    let secret = if password.len() < SECRET_BYTES_MIN { user } else { password };
    let secrets = Secrets::default().secret(secret).pair(&pair, &encoded);
    let secrets = secrets.sent(&value, &encoded).sent(&pair, secret);
    Some((header(AUTHORIZATION, &value)?, secrets))
}

/// A credential of the host's own request, where a scheme puts it.
pub(crate) fn of_host(
    (spec, credential): &(SlotSpec, Credential),
) -> Result<(Option<Injection>, Scrubber), Stop> {
    place(spec, credential)
        .ok_or_else(|| Stop::new(Reason::CredentialUnfit, "the credential does not fit its scheme"))
}

fn header(name: HeaderName, value: &str) -> Option<Injection> {
    let mut value = HeaderValue::from_str(value).ok()?;
    value.set_sensitive(true);
    Some(Injection::Header(name, value))
}

// === impl Loan ===

impl Loan {
    /// Puts it on no further request.
    pub(crate) fn withdraw(&mut self) {
        self.injection = None;
    }

    /// Whether the body has to be there before a request can be sent with it.
    pub(crate) fn signs_body(&self) -> bool {
        self.injection.as_deref().and_then(Injection::signer).is_some_and(Signer::signs_body)
    }

    /// The query parameters that it stands in.
    pub(crate) fn parameter_names(&self) -> impl Iterator<Item = &str> {
        self.injection.as_deref().into_iter().flat_map(Injection::parameter_names)
    }
}

// === impl Injection ===

impl Injection {
    /// The header to set, if it is one.
    pub(crate) fn header(&self) -> Option<(HeaderName, HeaderValue)> {
        match self {
            Self::Header(name, value) => Some((name.clone(), value.clone())),
            Self::Parameter { .. } | Self::Signature(_) => None,
        }
    }

    /// What signs the request, if something does.
    pub(crate) fn signer(&self) -> Option<&Signer> {
        match self {
            Self::Signature(signer) => Some(signer),
            Self::Header(..) | Self::Parameter { .. } => None,
        }
    }

    /// The query parameter to append, encoded, if it is one.
    pub(crate) fn parameter(&self) -> Option<&str> {
        match self {
            Self::Header(..) | Self::Signature(_) => None,
            Self::Parameter { encoded, .. } => Some(encoded),
        }
    }

    /// The names of the query parameters that it stands in.
    pub(crate) fn parameter_names(&self) -> impl Iterator<Item = &str> {
        let (name, signer) = match self {
            Self::Header(..) => (None, None),
            Self::Signature(signer) => (None, Some(signer)),
            Self::Parameter { name, .. } => (Some(name.as_str()), None),
        };
        name.into_iter().chain(signer.into_iter().flat_map(Signer::parameters))
    }
}

#[cfg(test)]
mod tests {
    use keyway_core::Code;

    use super::*;

    #[test]
    fn a_connector_is_not_told_whose_connection_ails() {
        let slot = "token".parse().unwrap();
        let text = r#"{"format":1,"name":"pub/crm","version":"1.0.0"}"#;
        let descriptor = Arc::new(keyway_core::Descriptor::parse(text).unwrap());
        let origin = Origin {
            call: keyway_core::ids::CallId(1),
            installation: keyway_core::ids::Installation {
                environment: "prod".parse().unwrap(),
                tenant: "acme".parse().unwrap(),
                connector: "pub/crm".parse().unwrap(),
            },
            user: Some("zoe@example.com".parse().unwrap()),
            pace: keyway_core::exchange::Pace::default(),
            release: keyway_core::release::ReleaseRef::new(
                "pub/crm".parse().unwrap(),
                descriptor.version.clone(),
                keyway_core::Digest::of(b""),
            ),
            descriptor,
            base_url: None,
            limit_met: Default::default(),
            time_left: std::time::Duration::ZERO,
        };
        let told = |code| {
            let of = reference(&origin, &slot);
            unavailable(&origin, &slot, &Fault::new(code, format!("{of} ails")))
        };
        for code in
            [Code::ConnectionPaused, Code::NeedsReauth, Code::RefreshUncertain, Code::Internal]
        {
            let stop = told(code);
            let expected =
                if code == Code::Internal { "credential-unavailable" } else { code.as_str() };
            assert_eq!(stop.reason.as_str(), expected);
            for name in ["prod", "acme", "zoe"] {
                assert!(!stop.detail.contains(name), "{}", stop.detail);
            }
        }
    }

    fn of(scheme: Scheme) -> SlotSpec {
        SlotSpec { scheme, scopes: vec![], summary: String::new(), probe: None, header: None }
    }

    fn token(text: &str) -> Credential {
        Credential::Token(text.to_owned().into())
    }

    #[test]
    fn each_scheme_has_its_place() {
        let injection = place(&of(Scheme::Bearer), &token("t0ken")).unwrap().0.unwrap();
        let (name, value) = injection.header().unwrap();
        assert_eq!((name.as_str(), value.as_bytes()), ("authorization", &b"Bearer t0ken"[..]));
        assert!(value.is_sensitive());
        assert!(!format!("{value:?}").contains("t0ken"));

        let basic = Credential::Basic {
            user: "Aladdin".to_owned().into(),
            password: "open sesame".to_owned().into(),
        };
        let injection = place(&of(Scheme::Basic), &basic).unwrap().0.unwrap();
        assert_eq!(injection.header().unwrap().1, "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");

        for (name, prefix) in
            [("Authorization", "Zoho-oauthtoken "), ("X-Shopify-Access-Token", "")]
        {
            let header = Some(TokenHeader { name: name.to_owned(), prefix: prefix.to_owned() });
            let spec = SlotSpec { header, ..of(Scheme::Bearer) };
            let (injection, scrubber) = place(&spec, &token("t0ken-of-a-shop")).unwrap();
            let (sent, value) = injection.unwrap().header().unwrap();
            assert_eq!(sent.as_str(), name.to_ascii_lowercase());
            assert_eq!(value, format!("{prefix}t0ken-of-a-shop").as_str());
            assert!(scrubber.finds(value.as_bytes()));
        }

        // RFC 7617 section 2.1: UTF-8.
        let basic = Credential::Basic {
            user: "test".to_owned().into(),
            password: "123£".to_owned().into(),
        };
        let injection = place(&of(Scheme::Basic), &basic).unwrap().0.unwrap();
        assert_eq!(injection.header().unwrap().1, "Basic dGVzdDoxMjPCow==");

        let scheme = Scheme::ApiKeyHeader { name: "X-Api-Key".to_owned() };
        let injection = place(&of(scheme), &token("k3y")).unwrap().0.unwrap();
        assert_eq!(injection.header().unwrap().0, "x-api-key");

        let scheme = Scheme::ApiKeyQuery { name: "key".to_owned() };
        let injection = place(&of(scheme), &token("a b&c=ü")).unwrap().0.unwrap();
        assert_eq!(injection.parameter(), Some("key=a%20b%26c%3D%C3%BC"));
    }

    /// A user's name is data, unless it is the key itself.
    #[test]
    fn the_user_is_a_secret_only_without_a_password() {
        let scrubber = |user: &str, password: &str| {
            let (user, password) = (user.to_owned().into(), password.to_owned().into());
            place(&of(Scheme::Basic), &Credential::Basic { user, password }).unwrap().1
        };
        for (user, password, finds) in [
            ("AC0123456789abcdef", "a-long-password", false),
            ("sk_test_0123456789", "", true),
            ("sk_test_0123456789", "x", true),
        ] {
            let scrubber = scrubber(user, password);
            assert_eq!(scrubber.finds(user.as_bytes()), finds, "{user} {password}");
            assert_eq!(scrubber.finds(password.as_bytes()), password.len() > 4, "{password}");
            let pair = STANDARD.encode(format!("{user}:{password}"));
            assert!(scrubber.finds(format!("Basic {pair}").as_bytes()));
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let basic =
            Credential::Basic { user: "a:b".to_owned().into(), password: "c".to_owned().into() };
        assert!(place(&of(Scheme::Basic), &basic).is_none());
        assert!(place(&of(Scheme::Bearer), &basic).is_none());
        assert!(place(&of(Scheme::Basic), &token("t")).is_none());
        assert!(place(&of(Scheme::Bearer), &token("a\r\nHost: evil")).is_none());
    }
}
