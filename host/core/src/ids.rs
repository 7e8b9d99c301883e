//! Names of things: one type a noun, parsed once at the edge.
//!
//! Every name is ASCII, so look-alike letters cannot make two tenants of one, and none can be read as
//! a path: none has a slash, and the first character is a letter, a digit or `_`.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Text that is no valid name of its kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} must be {rule}")]
pub struct InvalidName {
    /// The noun, such as `tenant`.
    pub kind: &'static str,
    /// What would have been valid.
    pub rule: &'static str,
}

/// Lower-case letters, digits and inner hyphens.
fn slug(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// Letters, digits, `.`, `_`, `-`, beginning with a letter or a digit.
fn word(text: &str) -> bool {
    (1..=128).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        && text.as_bytes()[0].is_ascii_alphanumeric()
}

/// What a system of the operator's may call a customer or a user of theirs: a number, a UUID, an address of mail,
/// `auth0|5f7c`. All that a segment of a path takes as it is (RFC 3986 section 3.3), and `|`. None of it ends such a
/// segment, needs to be escaped in JSON, or is spelled in two ways.
fn handle(text: &str) -> bool {
    (1..=128).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._~-@+|:=!$&'()*,;".contains(&b))
        && (text.as_bytes()[0].is_ascii_alphanumeric() || text.starts_with('_'))
}

const SLUG_RULE: &str = "1 to 63 lower-case letters, digits and inner hyphens";
const WORD_RULE: &str =
    "1 to 128 ASCII letters, digits, `.`, `_` and `-`, beginning with a letter or a digit";
const HANDLE_RULE: &str = "1 to 128 ASCII letters, digits and `._~-@+|:=!$&'()*,;`, beginning with a letter, a digit or `_`";

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $valid:ident, $rule:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;

            fn from_str(text: &str) -> Result<Self, InvalidName> {
                if $valid(text) {
                    Ok(Self(text.into()))
                } else {
                    Err(InvalidName { kind: $kind, rule: $rule })
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidName;

            fn try_from(text: String) -> Result<Self, InvalidName> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.as_str().to_owned()
            }
        }
    };
}

name!(
    /// `dev`, `staging`, `prod`: a world of its own credentials and pins.
    Environment, "environment", slug, SLUG_RULE
);
name!(
    /// A customer of the operator, as the operator's system names them, within an environment.
    Tenant, "tenant", handle, HANDLE_RULE
);
name!(
    /// Who releases a connector: the part of its name before the slash.
    Publisher, "publisher", slug, SLUG_RULE
);
name!(
    /// A credential slot that a connector declares.
    Slot, "slot", slug, SLUG_RULE
);
name!(
    /// One of a tenant's own users, as the operator's system names them.
    User, "user", handle, HANDLE_RULE
);
name!(
    /// What a stream reads: `contacts`, or a custom object.
    Object, "object", word, WORD_RULE
);
name!(
    /// An action that a connector declares, such as `contacts.get`.
    Action, "action", word, WORD_RULE
);
name!(
    /// Who did something: the name of the token that asked for it.
    Actor, "actor", word, WORD_RULE
);

/// A named integration, `publisher/name`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Connector {
    /// The whole name.
    full: Arc<str>,
    /// Where the slash is.
    slash: u8,
}

/// A credential set of an installation: of the tenant, or of one of its users. One is never taken for the
/// other.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct ConnectionRef {
    /// Whose.
    pub installation: Installation,
    /// Which of the connector's slots.
    pub slot: Slot,
    /// Of which user; none means the tenant's own.
    pub user: Option<User>,
}

/// (environment, tenant, connector): what a pin, a configuration and connections belong to.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Installation {
    /// Where it is.
    pub environment: Environment,
    /// Whose it is.
    pub tenant: Tenant,
    /// What it is of.
    pub connector: Connector,
}

/// One call, for logs, answers and exchanges: `call_` and 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct CallId(pub u128);

// === impl Connector ===

impl Connector {
    /// Joins a publisher and a bare name.
    pub fn new(publisher: &str, name: &str) -> Result<Self, InvalidName> {
        if slug(publisher) && slug(name) {
            // A slug is at most 63 bytes long.
            let slash = publisher.len() as u8;
            Ok(Self { full: [publisher, "/", name].concat().into(), slash })
        } else {
            Err(InvalidName {
                kind: "connector",
                rule: "`publisher/name`, each 1 to 63 lower-case letters, digits and inner hyphens",
            })
        }
    }

    /// The whole name, `publisher/name`.
    pub fn as_str(&self) -> &str {
        &self.full
    }

    /// The part before the slash.
    pub fn publisher(&self) -> &str {
        &self.full[..usize::from(self.slash)]
    }

    /// The part after the slash.
    pub fn name(&self) -> &str {
        &self.full[usize::from(self.slash) + 1..]
    }
}

impl fmt::Display for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.full)
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.full, f)
    }
}

impl FromStr for Connector {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let (publisher, name) = text.split_once('/').unwrap_or((text, ""));
        Self::new(publisher, name)
    }
}

impl TryFrom<String> for Connector {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, InvalidName> {
        text.parse()
    }
}

impl From<Connector> for String {
    fn from(connector: Connector) -> Self {
        connector.as_str().to_owned()
    }
}

// === impl Installation ===

impl fmt::Display for ConnectionRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} slot {}", self.installation, self.slot)?;
        self.user.as_ref().map_or(Ok(()), |user| write!(f, " user {user}"))
    }
}

impl fmt::Display for Installation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.environment, self.tenant, self.connector)
    }
}

// === impl CallId ===

impl CallId {
    const PREFIX: &str = "call_";

    /// Bytes of its text.
    pub const LENGTH: usize = Self::PREFIX.len() + 32;

    /// Writes it into `text`. Every answer and every line of a call has it, so this allocates nothing.
    pub fn encode<'t>(&self, text: &'t mut [u8; Self::LENGTH]) -> &'t str {
        let (prefix, digits) = text.split_at_mut(Self::PREFIX.len());
        prefix.copy_from_slice(Self::PREFIX.as_bytes());
        hex::encode_to_slice(self.0.to_be_bytes(), digits).expect("two digits for each byte");
        std::str::from_utf8(text).expect("prefix and digits are ASCII")
    }
}

impl fmt::Display for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.encode(&mut [0; Self::LENGTH]))
    }
}

impl FromStr for CallId {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let lower = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        let digits = text.strip_prefix(Self::PREFIX).filter(|digits| digits.len() == 32);
        let digits = digits.filter(|digits| digits.bytes().all(lower));
        digits.and_then(|digits| u128::from_str_radix(digits, 16).ok()).map(Self).ok_or(
            InvalidName { kind: "call", rule: "`call_` and 32 lower-case hexadecimal digits" },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_be_paths_or_look_alikes() {
        for bad in ["", ".", "..", "../x", "a/b", "a\\b", "а", "a b", "a\0", "-a", ".a", "a%2e"] {
            assert!(bad.parse::<Tenant>().is_err(), "{bad:?}");
        }
        for good in ["acme", "Acme.Inc", "42", "a_b-c"] {
            assert!(good.parse::<Tenant>().is_ok(), "{good:?}");
        }
        // As systems that manage identities name their customers and users.
        for good in [
            "user@example.com",
            "o'brien+test@example.co.uk",
            "auth0|5f7c8ec7c33c6c004bbafe82",
            "google-oauth2|103547991597142817347",
            "samlp|corp|_8e8dc5f69a98cc4c1ff3427e5ce34606fd672f91e6",
            "urn:uuid:6e8bc430-9c3a-11d9-9669-0800200c9a66",
            "acct:ann@example.com",
            "_internal",
            "a=b,c=d;e~f!g$h&i(j)*k",
        ] {
            assert!(good.parse::<Tenant>().is_ok(), "{good:?}");
            assert!(good.parse::<User>().is_ok(), "{good:?}");
        }
        for bad in ["|a", "@a", "+a", "~a", "a?b", "a#b", "a\"b", "a<b", "a{b}", "a\nb", "a\u{7f}"]
        {
            assert!(bad.parse::<Tenant>().is_err(), "{bad:?}");
            assert!(bad.parse::<User>().is_err(), "{bad:?}");
        }
        assert!("a".repeat(128).parse::<Tenant>().is_ok());
        assert!("a".repeat(129).parse::<Tenant>().is_err());
    }

    #[test]
    fn a_call_is_read_as_it_is_printed() {
        for id in [CallId(0), CallId(7), CallId(u128::MAX)] {
            assert_eq!(id.to_string().parse(), Ok(id));
        }
        let digits = "0".repeat(32);
        for bad in [
            "call_7",
            &digits,
            &format!("call_+{}", &digits[1..]),
            &format!("call_A{}", &digits[1..]),
        ] {
            assert!(bad.parse::<CallId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn connector_has_two_parts() {
        let connector: Connector = "keyway/hubspot".parse().unwrap();
        assert_eq!((connector.publisher(), connector.name()), ("keyway", "hubspot"));
        for bad in ["hubspot", "/hubspot", "keyway/", "a/b/c", "Keyway/hubspot", "key way/x"] {
            assert!(bad.parse::<Connector>().is_err(), "{bad:?}");
        }
    }
}
