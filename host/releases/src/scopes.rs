//! What a release needs of its provider, held against what was granted.
//!
//! A provider that never said what it granted is taken at its silence: such a connection lacks nothing that
//! anybody knows of.

use std::collections::HashSet;

use keyway_core::descriptor::{Descriptor, SlotSpec, split_scopes};
use keyway_core::ids::{Installation, Slot, User};
use keyway_store::Store;
use keyway_store::model::Connection;

/// Users that are named where a pin lacks scopes for many: somebody to ask. `keyway scopes` has them all.
const USERS_NAMED_MAX: usize = 3;

/// Scopes that ask for something other than a permission (OpenID Connect Core sections 3.1.2.1 and 11): a refresh token, and to
/// be told who somebody is. Whether it came is seen in the tokens; many providers leave them out of what they list as granted.
const REQUESTS: [&str; 2] = ["offline_access", "openid"];

/// A slot of a release, and what one connection was granted for it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SlotScopes {
    /// Which slot.
    pub slot: Slot,
    /// What the release needs.
    pub required: Vec<String>,
    /// What the provider granted; none where there is no connection, or the provider did not say.
    pub granted: Option<Vec<String>>,
    /// What of it is known to be missing.
    pub missing: Vec<String>,
}

/// What the connections of a tenant's users lack in one slot, added up: there may be thousands of them.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct UserScopes {
    slot: Slot,
    /// What the release needs, in its order.
    required: Vec<String>,
    /// How many users lack each of `required`.
    lacked: Vec<usize>,
    /// How many users lack something.
    users: usize,
    /// The first of them.
    named: Vec<User>,
}

/// Whose names a text may have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Naming {
    /// A few users': for whoever asked, and is to do something about it.
    Few,
    /// No user's: for what is kept for good, or is about many tenants.
    Nobody,
}

/// Every slot of a release, against the tenant's own connections.
pub fn compare(descriptor: &Descriptor, own: &[Connection]) -> Vec<SlotScopes> {
    let slot = |slot: &Slot, required: &[String]| {
        let connection = own.iter().find(|connection| connection.slot == *slot);
        let granted = connection.and_then(|connection| connection.scopes.clone());
        let missing = missing(required, granted.as_deref());
        SlotScopes { slot: slot.clone(), required: required.to_vec(), granted, missing }
    };
    descriptor.slots.iter().map(|(name, spec)| slot(name, &spec.scopes)).collect()
}

/// Those of `required` that are known not to be granted, but for what is no permission. Both are sets, whatever separates what stands in one text: older
/// rows have lists as their providers wrote them.
pub fn missing(required: &[String], granted: Option<&[String]>) -> Vec<String> {
    let Some(granted) = granted else { return Vec::new() };
    let granted: HashSet<&str> = granted.iter().flat_map(|text| split_scopes(text)).collect();
    let has = |scope: &str| granted.contains(scope) || REQUESTS.contains(&scope);
    let lacks = |scope: &&String| !split_scopes(scope).all(has);
    required.iter().filter(lacks).cloned().collect()
}

/// The slots of a release for which connections of the tenant's users lack something.
pub(crate) async fn compare_users(
    store: &Store,
    descriptor: &Descriptor,
    of: &Installation,
) -> Result<Vec<UserScopes>, keyway_store::Error> {
    let mut slots = Vec::new();
    for (slot, spec) in descriptor.slots.iter().filter(|(_, spec)| !spec.scopes.is_empty()) {
        let mut scopes = UserScopes::new(slot, spec);
        store.each_user_connection(of, slot, |connection| scopes.add(connection)).await?;
        slots.extend((scopes.users > 0).then_some(scopes));
    }
    Ok(slots)
}

/// What is missing, slot by slot, first of the tenant's own and then of its users'; none if nothing is.
pub(crate) fn describe(own: &[SlotScopes], users: &[UserScopes], names: Naming) -> Option<String> {
    let own = own.iter().filter(|slot| !slot.missing.is_empty());
    let own = own.map(|slot| format!("slot `{}`: {}", slot.slot, slot.missing.join(" ")));
    let users = users.iter().map(|slot| slot.describe(names));
    let texts: Vec<_> = own.chain(users).collect();
    (!texts.is_empty()).then(|| texts.join("; "))
}

// === impl UserScopes ===

impl UserScopes {
    fn new(slot: &Slot, spec: &SlotSpec) -> Self {
        let (required, lacked) = (spec.scopes.clone(), vec![0; spec.scopes.len()]);
        Self { slot: slot.clone(), required, lacked, users: 0, named: Vec::new() }
    }

    /// Counts a connection if it lacks something.
    fn add(&mut self, of: &Connection) {
        let missing = missing(&self.required, of.scopes.as_deref());
        if missing.is_empty() {
            return;
        }
        for (scope, lacked) in self.required.iter().zip(&mut self.lacked) {
            *lacked += usize::from(missing.contains(scope));
        }
        self.users += 1;
        if self.named.len() < USERS_NAMED_MAX {
            self.named.extend(of.user.clone());
        }
    }

    /// What is missing, with how many users lack it where that is not all of them.
    fn describe(&self, names: Naming) -> String {
        let Self { slot, users, .. } = self;
        let lacked = self.required.iter().zip(&self.lacked).filter(|(_, lacked)| **lacked > 0);
        let lacked = lacked.map(|(scope, lacked)| match lacked {
            lacked if lacked == users => scope.clone(),
            lacked => format!("{scope} (of {lacked})"),
        });
        let lacked = lacked.collect::<Vec<_>>().join(" ");
        let plural = if *users == 1 { "" } else { "s" };
        let such_as = match names {
            Naming::Few => format!(", {}", self.such_as()),
            Naming::Nobody => String::new(),
        };
        format!("slot `{slot}` of {users} user{plural}{such_as}: {lacked}")
    }

    /// The first users, by name.
    fn such_as(&self) -> String {
        let named: Vec<_> = self.named.iter().map(User::as_str).collect();
        let such_as = if self.users > named.len() { "such as " } else { "" };
        format!("{such_as}{}", named.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_compared_as_sets_in_whatever_form_they_are_kept() {
        let texts =
            |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        for (required, granted, lacking) in [
            (vec!["read", "write"], vec!["write", "read"], vec![]),
            (vec!["read", "write"], vec!["read,write"], vec![]),
            (vec!["read", "write"], vec!["read, write extra"], vec![]),
            (vec!["read write"], vec!["read", "write"], vec![]),
            (vec!["read,write"], vec!["read"], vec!["read,write"]),
            (vec!["read", "write"], vec!["read"], vec!["write"]),
            (vec!["read"], vec!["readwrite"], vec!["read"]),
            (vec!["read"], vec![], vec!["read"]),
            // What is no permission is not missed; what only looks like it is.
            (vec!["openid", "offline_access", "read"], vec!["read"], vec![]),
            (vec!["openid offline_access read"], vec!["write"], vec!["openid offline_access read"]),
            (vec!["offline_access.all", "OpenID"], vec![], vec!["offline_access.all", "OpenID"]),
        ] {
            let found = missing(&texts(&required), Some(&texts(&granted)));
            assert_eq!(found, texts(&lacking), "{required:?} {granted:?}");
        }
        assert_eq!(missing(&texts(&["read"]), None), texts(&[]));
    }
}
