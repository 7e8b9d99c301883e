//! The secrets that people set by hand: what fits which scheme, and the bytes that are sealed.

use keyway_core::credential::Credential;
use keyway_core::descriptor::Scheme;
use keyway_core::{Code, Fault};
use secrecy::{ExposeSecret as _, SecretString};
use zeroize::Zeroizing;

use crate::oauth::record::TOKEN_BYTES_MAX;

/// Bytes of a secret: as long as a token that is issued or imported.
pub const SECRET_BYTES_MAX: usize = TOKEN_BYTES_MAX;

/// Bytes of a secret that is sealed into its row, which stays within the store's largest value. A longer token has cells of
/// its own, as one that is issued.
const ROW_BYTES_MAX: usize = 2 << 10;

/// Bytes of the shortest secret: a shorter one would be found all over a response that it is scrubbed from.
pub const SECRET_BYTES_MIN: usize = 4;

/// What an operator gives for a slot.
#[derive(Debug)]
pub enum SecretInput {
    /// Nothing, for a slot that takes nothing.
    None,
    /// A bearer token or an API key.
    Token(SecretString),
    /// User and password.
    Basic {
        /// RFC 7617: without a colon.
        user: SecretString,
        /// Anything printable.
        password: SecretString,
    },
}

const NONE: u8 = 0;
const TOKEN: u8 = 1;
const BASIC: u8 = 2;

/// A token that is too long for a row.
pub(crate) fn long_token(secret: &SecretInput) -> Option<&SecretString> {
    match secret {
        SecretInput::Token(token) if token.expose_secret().len() > ROW_BYTES_MAX => Some(token),
        _ => None,
    }
}

/// What the row says it holds. A token that was made by hand is one, also in a slot that could have others.
pub(crate) fn kind(scheme: &Scheme, secret: &SecretInput) -> &'static str {
    match (scheme, secret) {
        (Scheme::Oauth2(_), SecretInput::Token(_)) => Scheme::Bearer.kind(),
        (scheme, _) => scheme.kind(),
    }
}

/// One byte of kind, then the secret; a user is ended by a colon, which it cannot contain.
pub(crate) fn encode(scheme: &Scheme, secret: &SecretInput) -> Result<Zeroizing<Vec<u8>>, Fault> {
    let refuse = |detail: String| Fault::new(Code::CredentialInvalid, detail);
    match (scheme, secret) {
        (Scheme::None, SecretInput::None) => Ok(joined(NONE, &[])),
        (Scheme::None, _) => Err(refuse("slot takes no secret".to_owned())),
        (scheme, SecretInput::Basic { user, password }) if scheme.takes_pair() => {
            let (user, password) = (user.expose_secret(), password.expose_secret());
            check_part("user", user)?;
            check_part("password", password)?;
            check_length(&[user, password])?;
            if user.is_empty() {
                return Err(refuse("user is empty".to_owned()));
            }
            if user.contains(':') {
                return Err(refuse("user must not contain a colon (RFC 7617)".to_owned()));
            }
            Ok(joined(BASIC, &[user.as_bytes(), b":", password.as_bytes()]))
        }
        (scheme, SecretInput::Token(_) | SecretInput::None) if scheme.takes_pair() => {
            Err(refuse("slot takes `user` and `password`".to_owned()))
        }
        (_, SecretInput::Token(token)) => {
            check_text("token", token.expose_secret(), SECRET_BYTES_MAX)?;
            check_length(&[token.expose_secret()])?;
            Ok(joined(TOKEN, &[token.expose_secret().as_bytes()]))
        }
        (scheme, SecretInput::Basic { .. } | SecretInput::None) => {
            Err(refuse(format!("slot takes a `token` ({})", scheme.kind())))
        }
    }
}

fn joined(kind: u8, parts: &[&[u8]]) -> Zeroizing<Vec<u8>> {
    // Sized up front: a buffer that grew would leave a copy of the secret behind.
    let mut bytes =
        Zeroizing::new(Vec::with_capacity(1 + parts.iter().map(|p| p.len()).sum::<usize>()));
    bytes.push(kind);
    parts.iter().for_each(|part| bytes.extend_from_slice(part));
    bytes
}

pub(crate) fn decode(plain: &[u8]) -> Option<Credential> {
    let (kind, rest) = plain.split_first()?;
    let text = std::str::from_utf8(rest).ok()?;
    match *kind {
        NONE => Some(Credential::None),
        TOKEN => Some(Credential::Token(text.to_owned().into())),
        BASIC => text.split_once(':').map(|(user, password)| Credential::Basic {
            user: user.to_owned().into(),
            password: password.to_owned().into(),
        }),
        _ => None,
    }
}

/// A secret ends up in a header or a query, where control characters and other alphabets have no place.
fn check_text(what: &str, text: &str, bytes_max: usize) -> Result<(), Fault> {
    let problem = if text.len() > bytes_max {
        format!("is over {bytes_max} bytes")
    } else if !text.bytes().all(|b| b == b' ' || b.is_ascii_graphic()) {
        "is not printable ASCII".to_owned()
    } else {
        return Ok(());
    };
    Err(Fault::new(Code::CredentialInvalid, format!("{what} {problem}")))
}

/// RFC 7617 section 2.1: user and password are UTF-8, without control characters. They are sent in base64, or not at all.
fn check_part(what: &str, text: &str) -> Result<(), Fault> {
    let problem = if text.len() > ROW_BYTES_MAX {
        format!("is over {ROW_BYTES_MAX} bytes")
    } else if text.chars().any(char::is_control) {
        "has control characters".to_owned()
    } else {
        return Ok(());
    };
    Err(Fault::new(Code::CredentialInvalid, format!("{what} {problem}")))
}

/// One part at least must be long enough to be told from ordinary text when responses are scrubbed. Which
/// one is the secret differs: some providers take an API key as the user, with no password.
fn check_length(parts: &[&str]) -> Result<(), Fault> {
    if parts.iter().any(|part| part.len() >= SECRET_BYTES_MIN) {
        return Ok(());
    }
    let detail = format!("credential is under {SECRET_BYTES_MIN} bytes");
    Err(Fault::new(Code::CredentialInvalid, detail))
}
