//! Puts a slot's credential on a request. The secret comes from the [`Credentials`] port, is marked
//! sensitive, and goes no further than the request; [`crate::scrub`] keeps it out of the response.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, HeaderName, HeaderValue};
use keyway_core::descriptor::Scheme;
use keyway_core::exchange::Origin;
use keyway_core::ids::Slot;
use keyway_core::ports::{Credential, Credentials};
use secrecy::ExposeSecret as _;
use zeroize::Zeroizing;

use crate::reason::{Reason, Stop};
use crate::scrub::{self, Scrubber};

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
}

/// The credential of the slot that the request asked for, and what finds it again in a response.
pub(crate) async fn injection(
    credentials: &dyn Credentials,
    origin: &Origin,
    slot: &str,
) -> Result<(Injection, Scrubber), Stop> {
    let undeclared = || {
        Stop::new(Reason::UndeclaredSlot, "the connector declares no credential slot of this name")
    };
    let slot: Slot = slot.parse().map_err(|_| undeclared())?;
    let spec = origin.descriptor.slots.get(&slot).ok_or_else(undeclared)?;
    let credential = credentials
        .credential(&origin.installation, &slot)
        .await
        .map_err(|fault| {
            tracing::warn!(
                call = %origin.call,
                installation = %origin.installation,
                fault = fault.chain(),
                "credential could not be had",
            );
            Stop::new(
                Reason::CredentialUnavailable,
                format!("the credential of slot `{slot}` cannot be read"),
            )
        })?
        .ok_or_else(|| {
            Stop::new(Reason::CredentialMissing, format!("slot `{slot}` has no credential"))
        })?;
    place(&spec.scheme, &credential).ok_or_else(|| {
        Stop::new(
            Reason::CredentialUnfit,
            format!("the credential of slot `{slot}` does not fit its scheme"),
        )
    })
}

/// None where the credential cannot stand where the scheme puts it.
fn place(scheme: &Scheme, credential: &Credential) -> Option<(Injection, Scrubber)> {
    match (scheme, credential) {
        (Scheme::Bearer, Credential::Token(token)) => {
            let token = token.expose_secret();
            let value = Zeroizing::new(format!("Bearer {token}"));
            Some((header(AUTHORIZATION, &value)?, Scrubber::new(&[token])))
        }
        (Scheme::Basic, Credential::Basic { user, password }) => {
            let (user, password) = (user.expose_secret(), password.expose_secret());
            // RFC 7617 section 2: the first colon ends the user.
            if user.contains(':') {
                return None;
            }
            let pair = Zeroizing::new(format!("{user}:{password}"));
            let value =
                Zeroizing::new(format!("Basic {}", *Zeroizing::new(STANDARD.encode(&*pair))));
            Some((header(AUTHORIZATION, &value)?, Scrubber::new(&[&pair, password, user])))
        }
        (Scheme::ApiKeyHeader { name }, Credential::Token(token)) => {
            let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
            let token = token.expose_secret();
            Some((header(name, token)?, Scrubber::new(&[token])))
        }
        (Scheme::ApiKeyQuery { name }, Credential::Token(token)) => {
            let token = token.expose_secret();
            let encode = |text: &str| scrub::percent_encoded(text.as_bytes(), b"", false);
            let encoded =
                Zeroizing::new(format!("{}={}", encode(name), *Zeroizing::new(encode(token))));
            Some((Injection::Parameter { name: name.clone(), encoded }, Scrubber::new(&[token])))
        }
        _ => None,
    }
}

fn header(name: HeaderName, value: &str) -> Option<Injection> {
    let mut value = HeaderValue::from_str(value).ok()?;
    value.set_sensitive(true);
    Some(Injection::Header(name, value))
}

// === impl Injection ===

impl Injection {
    /// The header to set, if it is one.
    pub(crate) fn header(&self) -> Option<(HeaderName, HeaderValue)> {
        match self {
            Self::Header(name, value) => Some((name.clone(), value.clone())),
            Self::Parameter { .. } => None,
        }
    }

    /// The query parameter to append, encoded, if it is one.
    pub(crate) fn parameter(&self) -> Option<&str> {
        match self {
            Self::Header(..) => None,
            Self::Parameter { encoded, .. } => Some(encoded),
        }
    }

    /// The name of the query parameter, if it is one.
    pub(crate) fn parameter_name(&self) -> Option<&str> {
        match self {
            Self::Header(..) => None,
            Self::Parameter { name, .. } => Some(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(text: &str) -> Credential {
        Credential::Token(text.to_owned().into())
    }

    #[test]
    fn each_scheme_has_its_place() {
        let (injection, _) = place(&Scheme::Bearer, &token("t0ken")).unwrap();
        let (name, value) = injection.header().unwrap();
        assert_eq!((name.as_str(), value.as_bytes()), ("authorization", &b"Bearer t0ken"[..]));
        assert!(value.is_sensitive());
        assert!(!format!("{value:?}").contains("t0ken"));

        let basic = Credential::Basic {
            user: "Aladdin".to_owned().into(),
            password: "open sesame".to_owned().into(),
        };
        let (injection, _) = place(&Scheme::Basic, &basic).unwrap();
        assert_eq!(injection.header().unwrap().1, "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");

        let scheme = Scheme::ApiKeyHeader { name: "X-Api-Key".to_owned() };
        let (injection, _) = place(&scheme, &token("k3y")).unwrap();
        assert_eq!(injection.header().unwrap().0, "x-api-key");

        let scheme = Scheme::ApiKeyQuery { name: "key".to_owned() };
        let (injection, _) = place(&scheme, &token("a b&c=ü")).unwrap();
        assert_eq!(injection.parameter(), Some("key=a%20b%26c%3D%C3%BC"));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let basic =
            Credential::Basic { user: "a:b".to_owned().into(), password: "c".to_owned().into() };
        assert!(place(&Scheme::Basic, &basic).is_none());
        assert!(place(&Scheme::Bearer, &basic).is_none());
        assert!(place(&Scheme::Basic, &token("t")).is_none());
        assert!(place(&Scheme::Bearer, &token("a\r\nHost: evil")).is_none());
    }
}
