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

/// Bytes of all parts of a credential that has several: a row takes 3 KiB of what is sealed, which is a little longer than
/// what was sealed. An access key with the token of its session has some 600 to 1,500.
const PARTS_BYTES_MAX: usize = 2_900;

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
    /// A key that signs for as long as a session lasts.
    Session {
        /// What the provider calls the key.
        id: SecretString,
        /// The key.
        key: SecretString,
        /// The session's token.
        token: SecretString,
    },
}

const NONE: u8 = 0;
const TOKEN: u8 = 1;
const BASIC: u8 = 2;
const SESSION: u8 = 3;

/// Ends the key of a session in what is sealed. No part of a secret has a control character.
const KEY_END: &str = "\n";

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
            check_pair(user, password)?;
            check_key(scheme, password)?;
            Ok(joined(BASIC, &[user, ":", password]))
        }
        (scheme, SecretInput::Session { id, key, token }) if scheme.takes_session() => {
            let (id, key, token) = (id.expose_secret(), key.expose_secret(), token.expose_secret());
            check_pair(id, key)?;
            // It goes into a header.
            check_text("session token", token, ROW_BYTES_MAX)?;
            check_length(&[token])?;
            check_sum(&[id, key, token])?;
            Ok(joined(SESSION, &[id, ":", key, KEY_END, token]))
        }
        (_, SecretInput::Session { .. }) => Err(refuse("slot takes no `session_token`".to_owned())),
        (scheme, SecretInput::Token(_) | SecretInput::None) if scheme.takes_pair() => {
            Err(refuse("slot takes `user` and `password`".to_owned()))
        }
        (scheme, SecretInput::Token(token)) => {
            check_text("token", token.expose_secret(), SECRET_BYTES_MAX)?;
            check_length(&[token.expose_secret()])?;
            check_key(scheme, token.expose_secret())?;
            Ok(joined(TOKEN, &[token.expose_secret()]))
        }
        (scheme, SecretInput::Basic { .. } | SecretInput::None) => {
            Err(refuse(format!("slot takes a `token` ({})", scheme.kind())))
        }
    }
}

fn joined(kind: u8, parts: &[&str]) -> Zeroizing<Vec<u8>> {
    // Sized up front: a buffer that grew would leave a copy of the secret behind.
    let mut bytes =
        Zeroizing::new(Vec::with_capacity(1 + parts.iter().map(|p| p.len()).sum::<usize>()));
    bytes.push(kind);
    parts.iter().for_each(|part| bytes.extend_from_slice(part.as_bytes()));
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
        SESSION => {
            let (pair, token) = text.rsplit_once(KEY_END)?;
            let (id, key) = pair.split_once(':')?;
            let [id, key, token] = [id, key, token].map(|part| part.to_owned().into());
            Some(Credential::Session { id, key, token })
        }
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

/// A user or a key's id, and what goes with it.
fn check_pair(user: &str, password: &str) -> Result<(), Fault> {
    let refuse = |detail: &str| Err(Fault::new(Code::CredentialInvalid, detail));
    check_part("user", user)?;
    check_part("password", password)?;
    check_length(&[user, password])?;
    check_sum(&[user, password])?;
    if user.is_empty() {
        return refuse("user is empty");
    }
    if user.contains(':') {
        return refuse("user must not contain a colon (RFC 7617)");
    }
    Ok(())
}

/// A key that signs is written as the release says.
fn check_key(scheme: &Scheme, key: &str) -> Result<(), Fault> {
    match scheme {
        Scheme::Hmac(rules) if rules.key_encoding.bytes(key).is_none() => {
            let detail = "the key is not written as the slot's `key-encoding` says";
            Err(Fault::new(Code::CredentialInvalid, detail))
        }
        _ => Ok(()),
    }
}

/// All parts are sealed into one row.
fn check_sum(parts: &[&str]) -> Result<(), Fault> {
    if parts.iter().map(|part| part.len()).sum::<usize>() <= PARTS_BYTES_MAX {
        return Ok(());
    }
    let detail = format!("the parts of the credential are over {PARTS_BYTES_MAX} bytes together");
    Err(Fault::new(Code::CredentialInvalid, detail))
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
