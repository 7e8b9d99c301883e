//! `keyway/hubspot` 1.x: HubSpot's CRM on the `v3` paths.
//!
//! Only the paths live here. What a connector does with them is `hubspot-crm`, which 2.x shares.

use hubspot_crm::Generation;

/// The connector.
pub type HubSpot = hubspot_crm::HubSpot<V3>;

/// The paths that carry `v3`.
pub struct V3;

impl Generation for V3 {
    const API: &'static str = "v3";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    // The vendor publishes no document for this one with the CRM's; its reference names the path.
    const ACCOUNT_INFO: &'static str = "/account-info/v3/details";

    fn objects(object: &str) -> String {
        format!("/crm/v3/objects/{object}")
    }

    fn properties(object: &str) -> String {
        format!("/crm/v3/properties/{object}")
    }
}

keyway_sdk::register!(HubSpot: Read, Write, Act);
