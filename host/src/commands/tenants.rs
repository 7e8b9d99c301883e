//! `keyway tenant`.

use http::Method;
use keyway_api::contract::installation::{DeleteTenant, NotRevoked, TenantDeleted};

use crate::args::TenantCommand;
use crate::commands::remote::{Session, encoded};
use crate::exit::Exit;
use crate::output;

/// A tenant as a whole.
pub(crate) async fn tenant(session: &Session, command: TenantCommand) -> anyhow::Result<Exit> {
    let TenantCommand::Delete { tenant, reason } = command;
    let environment = encoded(session.environment());
    let path = format!("/v1/environments/{environment}/tenants/{}/delete", encoded(&tenant));
    let json = session.value(Method::POST, &path, &DeleteTenant { reason }).await?;
    session.show(json, deleted)
}

fn deleted(receipt: TenantDeleted) {
    let TenantDeleted { environment, tenant, installations, pins, configs, .. } = &receipt;
    output::line(format!("{tenant} is gone from {environment}:"));
    output::line(format!(
        "{installations} installations, {pins} pins, {configs} configurations, {} connections, {} sessions, {} data keys",
        receipt.connections, receipt.sessions, receipt.data_keys,
    ));
    output::line(format!(
        "tokens of {} connections revoked, of {} not",
        receipt.revoked, receipt.not_revoked
    ));
    for NotRevoked { connector, slot, user, why } in &receipt.to_revoke {
        let user = user.as_ref().map_or(String::new(), |user| format!(" user {user}"));
        output::note(format!("keyway: warning: {connector} slot {slot}{user}: {why}"));
    }
}
