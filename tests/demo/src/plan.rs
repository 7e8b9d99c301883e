//! Who is in the demonstration, and what each tenant should run at its end.

use std::collections::BTreeMap;
use std::net::SocketAddr;

/// What is demonstrated.
pub(crate) const CONNECTOR: &str = "keyway/hubspot";

/// The line on HubSpot's `v3` API.
pub(crate) const LINE_1: &str = "1.x";

/// The line on HubSpot's dated API.
pub(crate) const LINE_2: &str = "2.x";

/// Digest by line.
pub(crate) type Releases = BTreeMap<&'static str, String>;

/// Tenants.
pub(crate) const TENANTS: usize = 20;

/// The first so many of them move to line 2.x.
pub(crate) const MOVED: usize = 12;

/// The first so many of those go back.
pub(crate) const REVERTED: usize = 4;

/// Name of a tenant.
pub(crate) fn tenant(number: usize) -> String {
    format!("tenant-{number:02}")
}

/// The line that a tenant should run in the end.
pub(crate) fn expected(number: usize) -> &'static str {
    if (REVERTED..MOVED).contains(&number) { LINE_2 } else { LINE_1 }
}

/// Pins that a tenant's history should have in the end: the first one, the move, the way back.
pub(crate) fn pins(number: usize) -> usize {
    1 + usize::from(number < MOVED) + usize::from(number < REVERTED)
}

/// A tenant's credential at the mock provider.
pub(crate) fn credential(number: usize) -> String {
    format!("pat-demo-{number:02}")
}

/// Path of a tenant's installation.
pub(crate) fn path(number: usize, rest: &str) -> String {
    format!("/v1/environments/dev/tenants/{}/connectors/{CONNECTOR}{rest}", tenant(number))
}

/// The host's configuration: the provider's name stands for the mock on the loopback interface, which
/// the default configuration would not allow.
pub(crate) fn config(upstream: SocketAddr) -> String {
    format!("[[egress.stand-in]]\nhost = \"api.hubapi.com\"\naddress = \"http://{upstream}\"\n")
}
