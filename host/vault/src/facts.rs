//! What is known of a connection by name: what was filled into the provider's URLs, and what a consent came back with.
//!
//! In the clear, shown to whoever may see the connection, and to the connector. A value that goes into a URL is read by the
//! rules of the release that asked for it, and read again by the one that uses it.

use std::collections::BTreeMap;

use keyway_core::descriptor::{Oauth, SlotSpec};
use keyway_core::ids::ConnectionRef;
use keyway_core::{Code, Fault};

/// Values by name.
pub type Facts = BTreeMap<String, String>;

/// Bytes of a value that a consent came back with.
const CALLBACK_VALUE_BYTES_MAX: usize = 256;

/// Facts of an authorization server with its URLs filled in for a connection.
pub(crate) fn filled(of: &ConnectionRef, oauth: &Oauth, facts: &Facts) -> Result<Oauth, Fault> {
    oauth.filled(facts).map_err(|problem| {
        Fault::new(Code::CredentialInvalid, format!("{of}: its release {problem}"))
    })
}

/// What is given for a slot, and what was known before: values for variables, and facts that a consent would bring. Refuses a
/// name that the slot does not have, and a value that does not fit; what is missing is not looked for.
pub(crate) fn read(spec: &SlotSpec, given: &Facts, known: &Facts) -> Result<Facts, Fault> {
    let refuse = |detail: String| Fault::new(Code::InvalidRequest, detail);
    let Some(oauth) = spec.scheme.oauth() else {
        return match given.is_empty() {
            true => Ok(Facts::new()),
            false => Err(refuse("the slot has no variables".to_owned())),
        };
    };
    let names: Vec<&String> = oauth.variables.keys().chain(&oauth.callback_facts).collect();
    let mut read = Facts::new();
    for (name, value) in given {
        let value = match oauth.variables.get(name) {
            Some(variable) => {
                variable.read(value).map_err(|rule| refuse(format!("`{name}` {rule}")))?
            }
            None if oauth.callback_facts.contains(name) && fits(value) => value.clone(),
            None => return Err(refuse(unknown(name, &names))),
        };
        read.insert(name.clone(), value);
    }
    for name in names {
        if let (false, Some(value)) = (read.contains_key(name), known.get(name)) {
            read.insert(name.clone(), value.clone());
        }
    }
    Ok(read)
}

/// What there is instead of a name, ten of it at most.
fn unknown(name: &str, names: &[&String]) -> String {
    let names: Vec<_> = names.iter().take(10).map(|name| format!("`{name}`")).collect();
    match names.is_empty() {
        true => format!("the slot has no variable `{name}`, nor any other"),
        false => format!(
            "`{name}` is no variable of the slot, or has a value that does not fit: it has {}",
            names.join(", ")
        ),
    }
}

fn fits(value: &str) -> bool {
    (1..=CALLBACK_VALUE_BYTES_MAX).contains(&value.len()) && !value.chars().any(char::is_control)
}

/// The variables of a slot that have no value yet.
pub fn missing<'s>(spec: &'s SlotSpec, facts: &Facts) -> Vec<(&'s str, &'s str)> {
    let needed = spec.scheme.oauth().into_iter().flat_map(Oauth::needed);
    let missing = needed.filter(|(name, _)| !facts.contains_key(*name));
    missing.map(|(name, variable)| (name, variable.summary.as_str())).collect()
}

/// Refuses where something is missing.
pub(crate) fn complete(spec: &SlotSpec, facts: &Facts) -> Result<(), Fault> {
    let missing = missing(spec, facts);
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<_> = missing.iter().map(|(name, _)| format!("`{name}`")).collect();
    let detail = format!("the provider's URLs need a value for {}", names.join(" and "));
    Err(Fault::new(Code::InvalidRequest, detail))
}

/// What of a callback's query the release wants to be kept.
pub(crate) fn of_callback(oauth: &Oauth, query: &[(String, String)]) -> Result<Facts, Fault> {
    let mut facts = Facts::new();
    for (name, value) in query.iter().filter(|(name, _)| oauth.callback_facts.contains(name)) {
        if !fits(value) || facts.insert(name.clone(), value.clone()).is_some() {
            let detail = format!("the answer has a `{name}` that cannot be kept");
            return Err(Fault::new(Code::ConnectStateInvalid, detail));
        }
    }
    Ok(facts)
}
