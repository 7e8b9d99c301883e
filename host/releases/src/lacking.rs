//! What a release needs and connections do not have: scopes that were not granted, credentials of another scheme.
//!
//! A change that would run into it is refused, unless whoever makes it says to go ahead. Its reason then tells.

use std::collections::HashMap;

use keyway_core::descriptor::Descriptor;
use keyway_core::ids::{Installation, Slot};
use keyway_core::release::Release;
use keyway_core::{Code, Fault};
use keyway_store::Store;
use keyway_store::model::{Connection, InstallationState};

use crate::scopes::{self, Naming, UserScopes};

/// Bytes of the note that a reason gets for each kind: enough for a dozen scopes.
const NOTE_BYTES_MAX: usize = 256;

/// Tenants that are named where a default lacks something for many.
const TENANTS_NAMED_MAX: usize = 3;

/// What a change may go ahead without.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Allowed {
    /// Scopes that a connection, the tenant's own or a user's, was not granted.
    pub missing_scopes: bool,
    /// Credentials of the scheme that the release declares, where others are set.
    pub other_schemes: bool,
}

/// What the connections of a tenant's users lack.
#[derive(Default, PartialEq, Eq, Debug)]
pub(crate) struct Users {
    scopes: Vec<UserScopes>,
    /// Slots, and how many users have a credential of another scheme there.
    schemes: Vec<(Slot, usize)>,
}

/// A kind of lack.
#[derive(Clone, Copy)]
struct Kind {
    code: Code,
    /// What follows a release in a refusal.
    needs: &'static str,
    /// What a reason is marked with.
    mark: &'static str,
}

const SCOPES: Kind =
    Kind { code: Code::ScopesMissing, needs: "needs what was not granted", mark: "scopes missing" };

const SCHEMES: Kind = Kind {
    code: Code::SchemeMismatch,
    needs: "takes another kind of credential than is set",
    mark: "credential of another scheme",
};

/// Holds a release against the connections of one installation. Gives back the reason of the change, with what it goes
/// ahead without.
pub(crate) fn settle(
    release: &Release,
    own: &[Connection],
    users: &Users,
    reason: String,
    allowed: Allowed,
) -> Result<String, Fault> {
    let descriptor = &release.descriptor;
    let scopes = scopes::compare(descriptor, own);
    let names = if allowed.missing_scopes { Naming::Nobody } else { Naming::Few };
    let missing = scopes::describe(&scopes, &users.scopes, names);
    settle_both(release, describe_schemes(descriptor, own, users), missing, reason, allowed)
}

/// The same for all installations that a default is for.
pub(crate) fn settle_all(
    release: &Release,
    of: &[InstallationState],
    users: &HashMap<Installation, Users>,
    reason: String,
    allowed: Allowed,
) -> Result<String, Fault> {
    let descriptor = &release.descriptor;
    let nobody = Users::default();
    let of_tenant = |state: &InstallationState, text: Option<String>| {
        text.map(|text| format!("tenant {}: {text}", state.installation.tenant))
    };
    let users = |state: &InstallationState| users.get(&state.installation).unwrap_or(&nobody);
    let others = of.iter().filter_map(|state| {
        of_tenant(state, describe_schemes(descriptor, &state.connections, users(state)))
    });
    let missing = of.iter().filter_map(|state| {
        let own = scopes::compare(descriptor, &state.connections);
        of_tenant(state, scopes::describe(&own, &users(state).scopes, Naming::Nobody))
    });
    settle_both(release, first_tenants(others), first_tenants(missing), reason, allowed)
}

/// Of many tenants the first, and how many more; none of none.
pub(crate) fn first_tenants(mut of: impl Iterator<Item = String>) -> Option<String> {
    let mut texts: Vec<_> = of.by_ref().take(TENANTS_NAMED_MAX).collect();
    let more = of.count();
    texts.extend((more > 0).then(|| format!("and {more} more tenants")));
    (!texts.is_empty()).then(|| texts.join("; "))
}

fn settle_both(
    release: &Release,
    others: Option<String>,
    missing: Option<String>,
    reason: String,
    allowed: Allowed,
) -> Result<String, Fault> {
    let reason = SCHEMES.settle(release, others, reason, allowed.other_schemes)?;
    SCOPES.settle(release, missing, reason, allowed.missing_scopes)
}

/// Slots whose credential is of another scheme, first of the tenant's own and then of its users'.
fn describe_schemes(descriptor: &Descriptor, own: &[Connection], users: &Users) -> Option<String> {
    let own = own.iter().filter_map(|connection| {
        let scheme = &descriptor.slots.get(&connection.slot)?.scheme;
        let (slot, set) = (&connection.slot, &connection.kind);
        let text = || format!("slot `{slot}` takes {} and has {set}", scheme.kind());
        (!scheme.takes(set)).then(text)
    });
    let users = users.schemes.iter().filter_map(|(slot, count)| {
        let takes = descriptor.slots.get(slot)?.scheme.kind();
        let of = if *count == 1 { "user has" } else { "users have" };
        Some(format!("slot `{slot}` takes {takes}, and {count} {of} another"))
    });
    let texts: Vec<_> = own.chain(users).collect();
    (!texts.is_empty()).then(|| texts.join("; "))
}

// === impl Allowed ===

impl Allowed {
    /// Whatever there is to go without.
    pub const ALL: Self = Self { missing_scopes: true, other_schemes: true };
}

// === impl Users ===

impl Users {
    /// What the users of an installation lack for a release.
    pub(crate) async fn of(
        store: &Store,
        descriptor: &Descriptor,
        installation: &Installation,
    ) -> Result<Self, keyway_store::Error> {
        let scopes = scopes::compare_users(store, descriptor, installation).await?;
        let mut schemes = Vec::new();
        for (slot, spec) in &descriptor.slots {
            let mut count = 0;
            let look = |of: &Connection| count += usize::from(!spec.scheme.takes(&of.kind));
            store.each_user_connection(installation, slot, look).await?;
            schemes.extend((count > 0).then(|| (slot.clone(), count)));
        }
        Ok(Self { scopes, schemes })
    }

    pub(crate) fn lack_nothing(&self) -> bool {
        self.scopes.is_empty() && self.schemes.is_empty()
    }
}

// === impl Kind ===

impl Kind {
    fn settle(
        self,
        release: &Release,
        lacking: Option<String>,
        reason: String,
        allowed: bool,
    ) -> Result<String, Fault> {
        let Some(lacking) = lacking else { return Ok(reason) };
        if !allowed {
            let detail = format!("{} {}: {lacking}", release.reference, self.needs);
            return Err(Fault::new(self.code, detail));
        }
        let cut = &lacking[..lacking.floor_char_boundary(NOTE_BYTES_MAX)];
        Ok(format!("{reason} [{}: {cut}]", self.mark))
    }
}
