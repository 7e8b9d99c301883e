//! A consent that a provider answered with `error` (RFC 6749 section 4.1.2.1): whom it concerns, and that it is known.
//!
//! The name of the error is the provider's word, come by somebody's browser: it is taken only in the standard's letters, and
//! not at any length.

use keyway_core::{Code, Fault};
use keyway_store::model::Entry;

use crate::connections::Vault;

/// Letters of an error's name. The longest that a standard has is half as long.
const NAME_BYTES_MAX: usize = 64;

/// What the operator's client, or the release, has asked for in a way that the provider does not take.
const OPERATORS: &[&str] = &[
    "invalid_request",
    "invalid_request_object",
    "invalid_request_uri",
    "request_not_supported",
    "request_uri_not_supported",
    "registration_not_supported",
    "invalid_client",
    "invalid_client_id",
    "unauthorized_client",
    "unsupported_response_type",
    "unsupported_response_mode",
    "invalid_scope",
    "invalid_target",
    "invalid_redirect_uri",
    "redirect_uri_mismatch",
    "redirect_uri_missing",
    "deleted_client",
    "application_suspended",
    "disallowed_useragent",
];

/// What the provider cannot do now.
const PROVIDERS: &[&str] = &["server_error", "temporarily_unavailable", "rate_limit_exceeded"];

/// What is said of an answer without a code. All that is not known is the person's, or of whoever administers the account.
pub(super) fn fault(error: Option<&str>) -> Fault {
    let letter = |b: u8| b.is_ascii_alphanumeric() || b"_-. ".contains(&b);
    let name =
        error.filter(|name| (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(letter));
    let Some(name) = name else {
        let detail = match error {
            Some(_) => "the provider did not consent, by a name that is none",
            None => "the provider sent neither a code nor an error",
        };
        return Fault::new(Code::ConsentRefused, detail);
    };
    let code = match name {
        name if OPERATORS.contains(&name) => Code::OauthClientRefused,
        name if PROVIDERS.contains(&name) => Code::TokenEndpointFailed,
        _ => Code::ConsentRefused,
    };
    let mut fault = Fault::new(code, format!("the provider answered `{name}`"));
    fault.provider_code = Some(name.to_owned());
    fault
}

// === impl Vault ===

impl Vault {
    /// Puts down that a consent came to nothing, for whoever is asked why.
    pub(super) async fn note_refusal(&self, session: &str, fault: &Fault) -> Result<(), Fault> {
        let Some(session) = self.session_kept(session).await else { return Ok(()) };
        let error = fault.provider_code.as_deref();
        tracing::warn!(
            event = "consent.refused", connection = %session.of, code = fault.code.as_str(),
            whose = fault.whose().as_str(), error, "a consent came to nothing"
        );
        let entry = Entry {
            actor: session.actor,
            action: "connection.refused".to_owned(),
            object: session.of.to_string(),
            reason: None,
            before: None,
            after: Some(error.map_or(fault.code.as_str().to_owned(), |error| {
                format!("{}: {error}", fault.code)
            })),
        };
        self.shared.store.tx().commit(entry).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_blamed_on_whom_it_concerns() {
        for (error, code, whose) in [
            ("access_denied", "consent-refused", "tenant"),
            ("login_required", "consent-refused", "tenant"),
            ("admin_policy_enforced", "consent-refused", "tenant"),
            ("something_of_theirs", "consent-refused", "tenant"),
            ("invalid_scope", "oauth-client-refused", "host"),
            ("redirect_uri_mismatch", "oauth-client-refused", "host"),
            ("unauthorized_client", "oauth-client-refused", "host"),
            ("server_error", "token-endpoint-failed", "upstream"),
            ("temporarily_unavailable", "token-endpoint-failed", "upstream"),
        ] {
            let fault = fault(Some(error));
            assert_eq!((fault.code.as_str(), fault.whose().as_str()), (code, whose), "{error}");
            assert!(fault.detail.contains(error), "{}", fault.detail);
            assert_eq!(fault.provider_code.as_deref(), Some(error));
        }
    }

    #[test]
    fn text_that_is_no_name_is_not_repeated() {
        let long = "x".repeat(NAME_BYTES_MAX + 1);
        for error in [Some(""), Some("<script>"), Some("a\nb"), Some(long.as_str()), None] {
            let fault = fault(error);
            assert_eq!((fault.code.as_str(), fault.provider_code), ("consent-refused", None));
        }
    }
}
