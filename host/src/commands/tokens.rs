//! `keyway token` and `keyway audit`.

use http::Method;
use hyper::body::Bytes;
use keyway_api::contract::token::{Audit, AuditEntry, IssuedToken, Token, TokenList};
use serde_json::json;

use crate::args::{Bounds, TokenCommand};
use crate::commands::pins::timestamp;
use crate::commands::remote::{Session, encoded};
use crate::exit::Exit;
use crate::output;

/// Tokens of the API.
pub(crate) async fn token(session: &Session, command: TokenCommand) -> anyhow::Result<Exit> {
    match command {
        TokenCommand::Issue { name, role, environments, publisher, bounds, expires_at } => {
            let environments = session.bound_to(&role, environments)?;
            let mut body = json!({"name": name, "role": role});
            let Bounds { tenants, connectors, users, verbs } = bounds;
            for (member, names) in [
                ("environments", environments),
                ("tenants", tenants),
                ("connectors", connectors),
                ("users", users),
                ("verbs", verbs),
            ] {
                if !names.is_empty() {
                    body[member] = json!(names);
                }
            }
            if let Some(publisher) = publisher {
                body["publisher"] = json!(publisher);
            }
            if let Some(expires_at) = expires_at {
                body["expires_at"] = json!(expires_at);
            }
            let json = session.value(Method::POST, "/v1/tokens", &body).await?;
            session.show(json, |issued: IssuedToken| {
                output::line(issued.secret);
                output::note("keep it: it is not shown again");
            })
        }
        TokenCommand::List => {
            let json = session.get("/v1/tokens").await?;
            session.show(json, |list: TokenList| {
                let rows: Vec<_> = list.tokens.into_iter().map(row).collect();
                output::table(
                    ["NAME", "ROLE", "ENVIRONMENTS", "PUBLISHER", "EXPIRES", "MADE"],
                    &rows,
                );
            })
        }
        TokenCommand::Revoke { name } => {
            let path = format!("/v1/tokens/{}", encoded(&name));
            session.send(Method::DELETE, &path, "application/json", Bytes::new()).await?;
            let text = format!("token {name} is revoked");
            Ok(session.gone(json!({ "revoked": name }), text))
        }
    }
}

fn row(token: Token) -> [String; 6] {
    let calls = calls(&token);
    let Token { name, role, environments, publisher, expires_at, at, .. } = token;
    [
        name,
        format!("{role:?}").to_lowercase(),
        environments.map_or("all".to_owned(), |environments| environments.join(",")) + &calls,
        publisher.unwrap_or("all".to_owned()),
        expires_at.map_or("never".to_owned(), timestamp),
        timestamp(at),
    ]
}

/// What a caller's token is bound to besides its environment.
fn calls(token: &Token) -> String {
    let bounds = [&token.tenants, &token.connectors, &token.users, &token.verbs];
    let bounds: Vec<_> = bounds.into_iter().flatten().map(|names| names.join(",")).collect();
    if bounds.is_empty() { String::new() } else { format!(": {}", bounds.join("; ")) }
}

/// Shows what was changed, by whom and why.
pub(crate) async fn audit(
    session: &Session,
    after: Option<u64>,
    limit: u32,
) -> anyhow::Result<Exit> {
    let order = after.map_or("order=newest".to_owned(), |after| format!("after={after}"));
    let json = session.get(&format!("/v1/audit?{order}&limit={limit}")).await?;
    session.show(json, |audit: Audit| {
        if let Some(next) = audit.next {
            let more = after.map_or("--limit".to_owned(), |_| format!("--after {next}"));
            output::note(format!("there are more: {more}"));
        }
        let rows: Vec<_> = audit.entries.into_iter().map(entry_row).collect();
        output::table(["SEQ", "AT", "ACTOR", "ACTION", "OBJECT", "AFTER", "REASON"], &rows);
    })
}

fn entry_row(entry: AuditEntry) -> [String; 7] {
    let AuditEntry { seq, at, actor, action, object, reason, after, .. } = entry;
    [
        seq.to_string(),
        timestamp(at),
        actor,
        action,
        object,
        after.unwrap_or("-".to_owned()),
        reason.unwrap_or("-".to_owned()),
    ]
}
