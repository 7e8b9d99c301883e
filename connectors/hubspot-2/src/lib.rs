//! `keyway/hubspot` 2.x: HubSpot's CRM on the dated `2026-03` paths.
//!
//! Only the paths live here. What a connector does with them is `hubspot-crm`, which 1.x shares.

use hubspot_crm::Generation;

/// The connector.
pub type HubSpot = hubspot_crm::HubSpot<Dated>;

/// The paths that carry `2026-03`.
pub struct Dated;

impl Generation for Dated {
    const API: &'static str = "2026-03";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    // The vendor publishes no document for this one with the CRM's; its reference names the path.
    const ACCOUNT_INFO: &'static str = "/account-info/2026-03/details";
    // The vendor's documents name this one for every generation. It ends it on 2027-02-16, in favour of
    // `/oauth/2026-03/token`, which takes and answers the same.
    const TOKEN_URL: &'static str = "https://api.hubapi.com/oauth/v1/token";
    // `v1` has none that RFC 7009 describes.
    const REVOKE_URL: &'static str = "https://api.hubapi.com/oauth/2026-03/token/revoke";

    fn objects(object: &str) -> String {
        format!("/crm/objects/2026-03/{object}")
    }

    fn properties(object: &str) -> String {
        format!("/crm/properties/2026-03/{object}")
    }
}

keyway_sdk::register!(HubSpot: Read, Write, Act);
