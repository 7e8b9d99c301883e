//! Line 2 against cassettes: everything that both lines must do, on the paths of this one.
#![expect(clippy::unwrap_used, reason = "a helper that cannot go on fails its test")]

use hubspot_2::HubSpot;

/// As the descriptor and cursors name the generation.
const API: &str = "2026-03";
/// Version of the line.
const MAJOR: &str = "2";
const OBJECTS: &str = "/crm/objects/2026-03";
const PROPERTIES: &str = "/crm/properties/2026-03";
const ACCOUNT_INFO: &str = "/account-info/2026-03/details";
const REVOKE_URL: &str = "https://api.hubapi.com/oauth/2026-03/token/revoke";

#[path = "../../hubspot-crm/suite/suite.rs"]
mod suite;
