//! What a release needs of its provider, held against what was granted.
//!
//! A provider that never said what it granted is taken at its silence: such a connection lacks nothing that
//! anybody knows of.

use keyway_core::descriptor::Descriptor;
use keyway_core::ids::Slot;
use keyway_store::model::{Connection, InstallationState};

/// Bytes of the note that a pin's reason gets: enough for a dozen scopes.
const NOTE_BYTES_MAX: usize = 256;

/// Tenants that are named where a default lacks scopes for many.
const TENANTS_NAMED_MAX: usize = 3;

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

/// Those of `required` that are known not to be granted.
pub fn missing(required: &[String], granted: Option<&[String]>) -> Vec<String> {
    let Some(granted) = granted else { return Vec::new() };
    required.iter().filter(|scope| !granted.contains(scope)).cloned().collect()
}

/// What is missing, slot by slot; none if nothing is.
pub(crate) fn describe(slots: &[SlotScopes]) -> Option<String> {
    let lacking = slots.iter().filter(|slot| !slot.missing.is_empty());
    let texts: Vec<_> =
        lacking.map(|slot| format!("slot `{}`: {}", slot.slot, slot.missing.join(" "))).collect();
    (!texts.is_empty()).then(|| texts.join("; "))
}

/// What is missing, tenant by tenant; none if nothing is. Of many tenants it names the first, and says how many more.
pub(crate) fn describe_all(descriptor: &Descriptor, of: &[InstallationState]) -> Option<String> {
    let mut lacking = of.iter().filter_map(|state| {
        let missing = describe(&compare(descriptor, &state.connections))?;
        Some(format!("tenant {}: {missing}", state.installation.tenant))
    });
    let mut texts: Vec<_> = lacking.by_ref().take(TENANTS_NAMED_MAX).collect();
    let more = lacking.count();
    texts.extend((more > 0).then(|| format!("and {more} more tenants")));
    (!texts.is_empty()).then(|| texts.join("; "))
}

/// The reason of a pin that somebody wanted in spite of missing scopes.
pub(crate) fn marked(reason: &str, missing: &str) -> String {
    let cut = &missing[..missing.floor_char_boundary(NOTE_BYTES_MAX)];
    format!("{reason} [scopes missing: {cut}]")
}
