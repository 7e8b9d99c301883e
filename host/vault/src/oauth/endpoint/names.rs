//! What errors of token endpoints are called, by the standards and by what large providers document.
//!
//! The names are data, and whoever says them is not looked at: what only one provider says, or says in a place of its own,
//! stands in a descriptor (`errors`). A name that is not here means nothing certain.

use keyway_core::descriptor::{ErrorMeaning, ErrorSign};

use crate::oauth::endpoint::answer::{Fields, Value};

/// Where an answer has the name of its error: as RFC 6749 section 5.2 has it, and where providers put it that wrap errors
/// of all their endpoints alike.
const PLACES: &[&str] = &[
    "/error",
    "/error/code",
    "/error/type",
    "/error/error",
    "/error/status",
    "/error_code",
    "/errorCode",
    "/code",
    "/errors/0/code",
    "/errors/0/error",
    "/data/error",
    // Beside an `error` that says less.
    "/suberror",
    "/error_subtype",
];

/// What is presented is not taken any more.
const GRANT: &[&str] = &[
    // RFC 6749 section 5.2.
    "invalid_grant",
    // OpenID Connect Core 1.0, section 3.1.2.6; at token endpoints too, where a person must do something.
    "interaction_required",
    "login_required",
    "account_selection_required",
    "consent_required",
    // RFC 6750 section 3.1, as authorization servers answer it that take a refresh token for any other token; RFC 8628
    // section 3.5; RFC 8693 as it is spoken.
    "invalid_token",
    "expired_token",
    "invalid_subject_token",
    // A refresh token, by whoever gives it a name of its own.
    "bad_refresh_token",
    "invalid_refresh_token",
    "expired_refresh_token",
    "refresh_token_expired",
    "refresh_token_revoked",
    "token_expired",
    "token_revoked",
    // A code, likewise; of some, also a refresh token.
    "invalid_code",
    "bad_verification_code",
    "code_already_used",
    // Whose it is.
    "account_inactive",
    "inactive_user",
    "inactive_org",
];

/// The client is not taken.
const CLIENT: &[&str] = &[
    // RFC 6749 section 5.2.
    "invalid_client",
    "invalid_client_id",
    "invalid_client_secret",
    "invalid_client_credentials",
    "bad_client_id",
    "bad_client_secret",
    "incorrect_client_credentials",
    "deleted_client",
];

/// What is asked for is not taken in this way. `unauthorized_client`, whatever section 5.2 says of it, is no word about the
/// client alone: large providers answer it to a refresh token that was issued to another client, and where one customer has
/// not admitted the client. Were it the client's refusal, one tenant's import would rest every tenant's refreshes.
const REQUEST: &[&str] =
    &["unauthorized_client", "invalid_request", "unsupported_grant_type", "invalid_scope"];

/// The server cannot now, and says that it did nothing.
const BUSY: &[&str] = &[
    // RFC 6749 section 4.1.2.1, RFC 8628 section 3.5.
    "temporarily_unavailable",
    "server_error",
    "slow_down",
    "service_unavailable",
    "rate_limit_exceeded",
    "rate_limited",
    "ratelimited",
    "too_many_requests",
];

/// What a name means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Named {
    Grant,
    /// By this name; none for one that only the descriptor has.
    Client(Option<&'static str>),
    Request(&'static str),
    Busy,
}

/// What an answer's error is, if the descriptor or this file has a name for it. Anything else is a provider's own text.
pub(super) fn named(fields: &Fields, signs: &[ErrorSign]) -> Option<Named> {
    let names = || {
        PLACES.iter().filter_map(|place| match fields.pointer(place)? {
            Value::Text(text) => known(text),
            _ => None,
        })
    };
    // Of two names the more telling one: that a person must do something.
    declared(fields, signs).or_else(|| names().min_by_key(|named| u8::from(*named != Named::Grant)))
}

/// The same, for what the descriptor has a name for.
pub(super) fn declared(fields: &Fields, signs: &[ErrorSign]) -> Option<Named> {
    let sign = signs.iter().find(|sign| is_said(fields, sign))?;
    Some(match sign.means {
        ErrorMeaning::NeedsReauth => Named::Grant,
        ErrorMeaning::ClientRefused => Named::Client(None),
        ErrorMeaning::Busy => Named::Busy,
    })
}

/// Whether an answer has this name for its error, wherever it has one.
pub(super) fn says(fields: &Fields, name: &'static str) -> bool {
    let at = |place: &&str| match fields.pointer(place) {
        Some(Value::Text(text)) => is(text, name),
        _ => false,
    };
    PLACES.iter().any(at)
}

fn is_said(fields: &Fields, sign: &ErrorSign) -> bool {
    let found = fields.pointer(&sign.pointer).and_then(Value::written);
    found.is_some_and(|found| sign.values.iter().any(|value| *value == *found))
}

fn known(text: &str) -> Option<Named> {
    let among = |names: &[&'static str]| names.iter().copied().find(|name| is(text, name));
    if among(GRANT).is_some() {
        return Some(Named::Grant);
    }
    let client = among(CLIENT).map(|name| Named::Client(Some(name)));
    let request = || among(REQUEST).map(Named::Request);
    client.or_else(request).or_else(|| among(BUSY).map(|_| Named::Busy))
}

/// Names are the same in capitals, and with a space or a hyphen for the underscore.
fn is(text: &str, name: &str) -> bool {
    let letter = |byte: u8| match byte {
        b' ' | b'-' => b'_',
        other => other.to_ascii_lowercase(),
    };
    text.trim().bytes().map(letter).eq(name.bytes())
}
