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
    // The vendor's documents name this one for every generation. It ends it on 2027-02-16, in favour of
    // `/oauth/v3/token`, which takes and answers the same.
    const TOKEN_URL: &'static str = "https://api.hubapi.com/oauth/v1/token";
    // `v1` has none that RFC 7009 describes.
    const REVOKE_URL: &'static str = "https://api.hubapi.com/oauth/v3/token/revoke";

    fn objects(object: &str) -> String {
        format!("/crm/v3/objects/{object}")
    }

    fn properties(object: &str) -> String {
        format!("/crm/v3/properties/{object}")
    }
}

keyway_sdk::register!(HubSpot: Read, Write, Act);
