//! The one credential: how the provider issues it, what it must be good for, and how it is tried.
//!
//! What the host does with these facts is the host's. The operator's app, its id and secret, is not among them.

use keyway_sdk::{ClientAuth, ErrorMeaning, Oauth, Probe, Refresh, Slot};

use crate::Generation;

/// Where a person consents, in whichever generation.
const AUTHORIZE_URL: &str = "https://app.hubspot.com/oauth/authorize";

/// What the vendor's documents ask for, operation by operation.
const SCOPES: [&str; 5] = [
    "oauth",
    "crm.objects.contacts.read",
    "crm.objects.contacts.write",
    "crm.objects.companies.read",
    "crm.objects.companies.write",
];

/// Seconds that an access token lives, as the vendor documents it; answers say so as well.
const ACCESS_TOKEN_SECONDS: u32 = 30 * 60;

/// What the vendor calls a refresh token, or a code, that is none any more.
const DEAD: [&str; 2] = ["BAD_REFRESH_TOKEN", "BAD_AUTH_CODE"];

/// What it calls an app that it does not know.
const WRONG_CLIENT: [&str; 2] = ["BAD_CLIENT_ID", "BAD_CLIENT_SECRET"];

/// The slot. A token of a private app, made by hand, fits it too: then nothing is issued and nothing refreshed.
pub(crate) fn slot<G: Generation>() -> Slot {
    let oauth = Oauth::authorization_code(AUTHORIZE_URL, G::TOKEN_URL)
        .revoke_url(G::REVOKE_URL)
        // The endpoints read the client from the body alone.
        .client_auth(ClientAuth::Post)
        .scope_separator(" ")
        // A refresh token is good until the app is removed from the account; a refresh answers with the same.
        .refresh(Refresh::Keep)
        .lifetime(ACCESS_TOKEN_SECONDS)
        .account("/hub_id")
        // The token endpoint has the vendor's names alone.
        .error("/status", DEAD, ErrorMeaning::NeedsReauth)
        .error("/status", WRONG_CLIENT, ErrorMeaning::ClientRefused);
    Slot::oauth2(oauth)
        .scopes(SCOPES)
        .summary("A HubSpot account, connected by OAuth, or the access token of a private app.")
        .probe(Probe::get(G::ACCOUNT_INFO).account("/portalId"))
}
