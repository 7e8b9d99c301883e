//! How HubSpot explains what it refuses: one error document for a request, one for each item of a batch.

use std::collections::BTreeMap;
use std::time::Duration;

use keyway_sdk::{Failure, FailureKind, Response, from_json};
use serde::Deserialize;
use serde_json::Value;

/// Wait for a burst limit where the provider names none: its windows are ten seconds, or one.
const BURST_WAIT: Duration = Duration::from_secs(10);
const SECOND_WAIT: Duration = Duration::from_secs(1);

/// Wait for the daily limit where the provider names none. It ends at midnight in the account's own
/// time zone, which is not known here: an hour finds any midnight soon without hammering.
const DAILY_WAIT: Duration = Duration::from_secs(60 * 60);

/// Wait for a locked record: the provider asks for two seconds at least.
const LOCKED_WAIT: Duration = Duration::from_secs(2);

/// The error document. Everything is optional: gateways before the API answer in their own ways.
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Explained {
    message: Option<String>,
    category: Option<String>,
    /// Text in the document of a request, an object in that of an item.
    sub_category: Option<Value>,
    correlation_id: Option<String>,
    policy_name: Option<String>,
    error_type: Option<String>,
    context: BTreeMap<String, Vec<String>>,
    errors: Vec<Detail>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Detail {
    message: Option<String>,
    code: Option<String>,
    context: BTreeMap<String, Vec<String>>,
}

/// The failure that a response with an error status means.
pub(crate) fn of_response(response: &Response) -> Failure {
    let explained: Explained = from_json(&response.body).unwrap_or_default();
    let kind = explained.kind(kind_of_status(response.status));
    let mut failure = Failure { kind, ..Failure::of_response(response) };
    failure = explained.explain(failure);
    failure.retry_after = failure.retry_after.or_else(|| explained.wait(response));
    failure
}

fn kind_of_status(status: u16) -> FailureKind {
    match status {
        // Locked by another write, and an account on the move between data centres: both pass.
        423 | 477 => FailureKind::Transient,
        _ => FailureKind::of_status(status),
    }
}

impl Explained {
    /// The failure of one item of a batch.
    pub(crate) fn of_item(&self) -> Failure {
        let kind = self.kind(FailureKind::InvalidInput);
        self.explain(Failure::new(kind, "provider refused the item"))
    }

    /// Values that the explanation gives a name, wherever in it they stand.
    pub(crate) fn context(&self, name: &str) -> impl Iterator<Item = &str> {
        let details = self.errors.iter().map(|detail| &detail.context);
        let contexts = std::iter::once(&self.context).chain(details);
        let name = name.to_owned();
        contexts.filter_map(move |context| context.get(&name)).flatten().map(String::as_str)
    }

    /// The category is more exact than the status: a batch item has no status at all.
    fn kind(&self, otherwise: FailureKind) -> FailureKind {
        match self.category.as_deref().unwrap_or_default() {
            "VALIDATION_ERROR" => FailureKind::InvalidInput,
            "INVALID_AUTHENTICATION" | "EXPIRED_AUTHENTICATION" => FailureKind::Unauthenticated,
            "MISSING_SCOPES" | "FORBIDDEN" | "BANNED" => FailureKind::Forbidden,
            "OBJECT_NOT_FOUND" => FailureKind::NotFound,
            "CONFLICT" | "OBJECT_ALREADY_EXISTS" => FailureKind::Conflict,
            "RATE_LIMITS" => FailureKind::RateLimited,
            _ => otherwise,
        }
    }

    fn explain(&self, mut failure: Failure) -> Failure {
        // Rate limits are told apart by their policy and leave the category out.
        let code = self.category.as_ref().or(self.error_type.as_ref());
        if let Some(code) = code {
            failure = failure.code(code);
        }
        let detail = self.errors.iter().find_map(|error| error.message.as_ref());
        if let Some(message) = self.message.as_ref().or(detail) {
            failure.message.clone_from(message);
        }
        let sub_category = match &self.sub_category {
            Some(Value::String(text)) => Some(text.clone()),
            Some(Value::Object(object)) if !object.is_empty() => {
                Some(Value::Object(object.clone()).to_string())
            }
            _ => None,
        };
        let code = self.errors.iter().find_map(|error| error.code.clone());
        let scopes: Vec<_> = ["missingScopes", "requiredScopes", "requiredGranularScopes"]
            .iter()
            .flat_map(|name| self.context(name))
            .collect();
        let scopes = (!scopes.is_empty()).then(|| scopes.join(" "));
        for (name, value) in [
            ("sub-category", sub_category),
            ("error-code", code),
            ("correlation-id", self.correlation_id.clone()),
            ("policy", self.policy_name.clone()),
            ("missing-scopes", scopes),
        ] {
            if let Some(value) = value {
                failure = failure.detail(name, value);
            }
        }
        failure
    }

    /// How long to wait where `Retry-After` says nothing.
    fn wait(&self, response: &Response) -> Option<Duration> {
        match response.status {
            423 => return Some(LOCKED_WAIT),
            429 => {}
            _ => return None,
        }
        let policy = self.policy_name.as_deref().unwrap_or_default();
        let used_up = |name| response.header(name).map(str::trim) == Some("0");
        if policy.contains("DAILY") || used_up("x-hubspot-ratelimit-daily-remaining") {
            return Some(DAILY_WAIT);
        }
        let window = response.header("x-hubspot-ratelimit-interval-milliseconds");
        if let Some(milliseconds) = window.and_then(|window| window.trim().parse().ok()) {
            return Some(Duration::from_millis(milliseconds));
        }
        Some(if policy == "SECONDLY" { SECOND_WAIT } else { BURST_WAIT })
    }
}
