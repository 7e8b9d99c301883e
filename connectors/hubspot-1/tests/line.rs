//! Line 1 against cassettes: everything that both lines must do, on the paths of this one.
#![expect(clippy::unwrap_used, reason = "a helper that cannot go on fails its test")]

use hubspot_1::HubSpot;

/// As the descriptor and cursors name the generation.
const API: &str = "v3";
/// Version of the line.
const MAJOR: &str = "1";
const OBJECTS: &str = "/crm/v3/objects";
const PROPERTIES: &str = "/crm/v3/properties";
const ACCOUNT_INFO: &str = "/account-info/v3/details";
const REVOKE_URL: &str = "https://api.hubapi.com/oauth/v3/token/revoke";

#[path = "../../hubspot-crm/suite/suite.rs"]
mod suite;
