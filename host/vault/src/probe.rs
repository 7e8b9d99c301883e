//! Whether a credential works: the one request that the release names for it, and what its answer decides.
//!
//! A provider has refused a credential only where it says so of the credential. One that is busy, unwell or out of reach
//! has decided nothing: whoever is about to set one by hand, or to import one that another system holds, is told to come
//! again; what was issued here stays, because nobody has it a second time.

use std::time::Duration;

use http::{HeaderMap, Method};
use keyway_core::credential::Credential;
use keyway_core::descriptor::{Probe, SlotSpec};
use keyway_core::exchange::{HostRequest, Response, Unfinished};
use keyway_core::ids::ConnectionRef;
use keyway_core::ports::Credentials as _;
use keyway_core::{Code, Fault, Retry};
use keyway_store::model::Connection;
use secrecy::SecretString;

use crate::connections::{Vault, host, is_by_hand};
use crate::import::{ACCOUNT_BYTES_MAX, Trial, Tried, unusable};
use crate::oauth::endpoint::{named_in, retry_after};
use crate::oauth::skew;
use crate::secret::{self, SecretInput};

/// For the one request that tries a credential.
const PROBE_TIME: Duration = Duration::from_secs(15);

/// What providers call the number of requests that are left. A 403 beside nothing is one for the rate.
const LEFT: [&str; 4] =
    ["x-ratelimit-remaining", "ratelimit-remaining", "x-rate-limit-remaining", "x-rate-remaining"];

/// Why a probe does not show that a credential works, or whose it is.
#[derive(Debug)]
pub(crate) enum Doubt {
    /// The provider does not take the credential.
    Refused(Fault),
    /// It has not said either, or was not asked.
    Undecided(Fault),
    /// It takes the credential, and nobody can read whose it is.
    Unread,
}

// === impl Vault ===

impl Vault {
    /// Asks the provider whether a token works that was issued, or is to be imported.
    pub(crate) async fn try_token(
        &self,
        of: &ConnectionRef,
        spec: &SlotSpec,
        token: &SecretString,
        trial: &Trial,
    ) -> Result<Tried, Doubt> {
        self.try_credential(of, spec, Credential::Token(token.clone()), trial).await
    }

    /// Asks the provider whether a credential works that is about to be set by hand.
    pub async fn try_setting(
        &self,
        of: &ConnectionRef,
        spec: &SlotSpec,
        secret: &SecretInput,
        trial: &Trial,
    ) -> Result<Tried, Fault> {
        // Refused as it would be when it is set.
        let plain = secret::encode(&spec.scheme, secret)?;
        let credential = secret::decode(&plain).ok_or_else(unusable)?;
        decided(self.try_credential(of, spec, credential, trial).await)
    }

    /// Asks the provider whether a connection works, as it is used: refreshed first, if it must be. An account that was not
    /// known of issued tokens is from then on.
    pub async fn test(
        &self,
        of: &ConnectionRef,
        spec: &SlotSpec,
        trial: &Trial,
    ) -> Result<Tried, Fault> {
        if spec.probe.is_none() {
            let detail = format!("the release names no request that would tell whether {of} works");
            return Err(Fault::new(Code::Unsupported, detail));
        }
        let absent = || Fault::new(Code::UnknownConnection, format!("there is no {of}"));
        let connection = self.find(of).await?.ok_or_else(absent)?;
        let held = self.credential(of, spec).await?.ok_or_else(absent)?;
        let trial = Trial {
            base_url: held.base_url.as_deref().unwrap_or(&trial.base_url).to_owned(),
            hosts: trial.hosts.clone(),
        };
        // Held until the answer is there: a pause waits for it.
        let credential = held.opened.credential().clone();
        let tried = decided(self.try_credential(of, spec, credential, &trial).await)?;
        if let Tried::Works(Some(account)) = &tried {
            self.note_account(&connection, account).await;
        }
        Ok(tried)
    }

    /// Takes note of whose tokens are of which nobody could tell when they were issued. What was set by hand is whoever's it
    /// was set for, and a name that is known is changed by a person only.
    async fn note_account(&self, tested: &Connection, account: &str) {
        if tested.account.is_some()
            || is_by_hand(tested)
            || account.len() + "\"\"".len() > ACCOUNT_BYTES_MAX
        {
            return;
        }
        let of = tested.reference();
        let by = host();
        let noted = self.change(&of, "connection.account", &by, |connection| {
            let same = connection.epoch == tested.epoch && connection.account.is_none();
            if same {
                connection.account = Some(account.to_owned());
            }
            same
        });
        if let Err(fault) = noted.await {
            tracing::warn!(connection = %of, problem = fault.chain(), "account not noted");
        }
    }

    /// Whether tokens may be kept of which nobody could tell whose they are. Not in the place of a connection whose account is
    /// known, whether it works or not: they may be of another, and whoever signs in can see to it that nobody can tell.
    pub(crate) async fn check_unverified(
        &self,
        of: &ConnectionRef,
        spec: &SlotSpec,
        doubt: Doubt,
    ) -> Result<(), Fault> {
        let cause = match doubt {
            Doubt::Refused(fault) => return Err(fault),
            Doubt::Undecided(fault) => fault,
            Doubt::Unread => undecided(format!("{of}: the provider's answer cannot be read")),
        };
        let known = |before: &Connection| before.account.is_some() && names_account(spec);
        if self.find(of).await?.is_some_and(|before| known(&before)) {
            let detail = format!(
                "{of} is of an account, and the provider could not say whether the new tokens are of the same"
            );
            let retry = cause.retry;
            return Err(Fault::new(Code::ProbeUndecided, detail).retry(retry).caused_by(cause));
        }
        tracing::warn!(event = "connection.account-unknown", connection = %of, problem = cause.chain(), "tokens are kept, and the provider could not say whose they are");
        Ok(())
    }

    async fn try_credential(
        &self,
        of: &ConnectionRef,
        spec: &SlotSpec,
        credential: Credential,
        trial: &Trial,
    ) -> Result<Tried, Doubt> {
        let Some(probe) = &spec.probe else { return Ok(Tried::Untried) };
        let request = HostRequest {
            purpose: "probe",
            environment: Some(of.installation.environment.clone()),
            method: Method::GET,
            url: format!("{}{}", trial.base_url.trim_end_matches('/'), probe.path),
            hosts: trial.hosts.clone(),
            headers: HeaderMap::new(),
            body: None,
            credential: Some((spec.clone(), credential)),
            timeout: PROBE_TIME,
        };
        let response = match self.shared.outbound.fetch(request).await {
            Ok(response) => response,
            Err(unfinished) => return unanswered(of, probe, unfinished),
        };
        self.compare_clocks(self.shared.clock.now(), skew::date(&response));
        match response.status {
            200..300 => whose(probe, response),
            _ => Err(no(of, &response)),
        }
    }
}

/// Whether a release says how the provider names an account.
pub(crate) fn names_account(spec: &SlotSpec) -> bool {
    spec.scheme.oauth().is_some_and(|oauth| oauth.account.is_some())
        || spec.probe.as_ref().is_some_and(|probe| probe.account.is_some())
}

/// For whoever can come again: what is not decided is the fault of whoever could not decide it.
pub(crate) fn decided(asked: Result<Tried, Doubt>) -> Result<Tried, Fault> {
    match asked {
        Ok(tried) => Ok(tried),
        Err(Doubt::Unread) => Ok(Tried::Works(None)),
        Err(Doubt::Refused(fault) | Doubt::Undecided(fault)) => Err(fault),
    }
}

fn undecided(detail: String) -> Fault {
    Fault::new(Code::ProbeUndecided, detail)
}

/// What a yes says of the account.
fn whose(probe: &Probe, response: Response) -> Result<Tried, Doubt> {
    let Some(pointer) = &probe.account else { return Ok(Tried::Works(None)) };
    named_in(response, pointer).map(Tried::Works).ok_or(Doubt::Unread)
}

/// What an answer that is no yes says of the credential.
fn no(of: &ConnectionRef, response: &Response) -> Doubt {
    let detail = format!("{of}: the provider answered {} to the credential", response.status);
    match response.status {
        401 => Doubt::Refused(Fault::new(Code::ProbeFailed, detail)),
        408 | 425 | 429 | 500.. => Doubt::Undecided(again(detail, response)),
        403 if is_for_the_rate(response) => Doubt::Undecided(again(detail, response)),
        // It says no to the request, which may be for the credential: whoever sets one by hand is to look at it.
        _ => Doubt::Undecided(Fault::new(Code::ProbeFailed, detail)),
    }
}

fn again(detail: String, response: &Response) -> Fault {
    let fault = undecided(detail);
    match retry_after(response) {
        Some(wait) => fault.retry(Retry::After(wait)),
        None => fault,
    }
}

/// Whether a 403 is for the rate: it says how long to wait, or that nothing is left.
fn is_for_the_rate(response: &Response) -> bool {
    let nothing_left = |(name, value): &(String, String)| {
        LEFT.contains(&name.as_str()) && value.trim().parse() == Ok(0_u64)
    };
    retry_after(response).is_some() || response.headers.iter().any(nothing_left)
}

/// What it means that there is no whole answer.
fn unanswered(of: &ConnectionRef, probe: &Probe, unfinished: Unfinished) -> Result<Tried, Doubt> {
    let Unfinished { failure, partial } = unfinished;
    if partial.is_some_and(|partial| (200..300).contains(&partial.status)) {
        // It said yes, and that is all that was asked for; or whose it is was behind where it broke off.
        return if probe.account.is_some() { Err(Doubt::Unread) } else { Ok(Tried::Works(None)) };
    }
    let detail = format!("{of}: the provider was not reached: {}", failure.message);
    let mut fault = Fault::from(failure);
    Err(Doubt::Undecided(match fault.code {
        Code::Transient | Code::RateLimited | Code::ContractDrift | Code::ResponseTooLarge => {
            undecided(detail)
        }
        Code::Unauthenticated => Fault::new(Code::ProbeFailed, detail),
        // What this host refuses, or has no room for, has causes of its own, and is for others to mend.
        _ => {
            fault.detail = detail;
            fault
        }
    }))
}
