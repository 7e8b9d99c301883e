//! `keyway connection`, `keyway client` and `keyway scopes`.

use std::collections::{BTreeMap, HashMap};
use std::io::IsTerminal as _;
use std::path::Path;

use anyhow::{Context as _, bail};
use http::Method;
use hyper::body::Bytes;
use keyway_api::contract::LINES_TYPE;
use keyway_api::contract::connection::{
    Client, ClientList, Connection, ConnectionList, Imported, LineOutcome, PauseReceipt, Replaced,
    Scopes, SlotScopes, Standing, StandingList, Tested, TokenPhase, TokenState, Watch, WatchState,
};
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::args;
use crate::args::{ClientCommand, ConnectionCommand, Which};
use crate::commands::pins::timestamp;
use crate::commands::remote::{Session, connector_path, encoded};
use crate::commands::settings::{standard_input, text_of};
use crate::exit::Exit;
use crate::output;

/// Lines of an import that are sent at once. The host tries eight at a time and answers when all are done, which is
/// to be long before [`crate::client`] gives up, also where a provider takes half a minute for each.
const IMPORT_LINES: usize = 100;

/// An installation's credentials.
pub(crate) async fn connection(
    session: &Session,
    command: ConnectionCommand,
) -> anyhow::Result<Exit> {
    match command {
        ConnectionCommand::SetAll { tenant, connector, for_user, file, no_test } => {
            let installation = (tenant.as_str(), connector.as_str());
            set_all(session, installation, for_user.as_deref(), &file, no_test).await
        }
        ConnectionCommand::Test(which) => test(session, &which).await,
        ConnectionCommand::Set(typed) => set(session, *typed).await,
        ConnectionCommand::Remove(which) => {
            let path = path(session, &which, "");
            session.send(Method::DELETE, &path, "application/json", Bytes::new()).await?;
            let text = format!("{} has no credential any more", name(&which));
            let gone = json!({"removed": {
                "tenant": which.tenant, "connector": which.connector, "slot": which.slot, "user": which.for_user,
            }});
            Ok(session.gone(gone, text))
        }
        ConnectionCommand::List { tenant: Some(tenant), connector: Some(connector), .. } => {
            let path = session.installation(&tenant, &connector, "/connections");
            let json = session.get(&path).await?;
            session.show(json, |list: ConnectionList| {
                let rows: Vec<_> = list.connections.into_iter().map(row).collect();
                output::table(["SLOT", "USER", "KIND", "GEN", "STATE", "BASE URL", "SET"], &rows);
            })
        }
        ConnectionCommand::List { phase, .. } => standing(session, phase.as_deref()).await,
        ConnectionCommand::Pause { which, wait } => pause(session, &which, wait).await,
        ConnectionCommand::Resume(which) => {
            switch(session, &which, "resume", "is in use again").await
        }
        ConnectionCommand::HoldRefresh(which) => {
            switch(session, &which, "hold-refresh", "is not refreshed").await
        }
        ConnectionCommand::ReleaseRefresh(which) => {
            switch(session, &which, "release-refresh", "is refreshed again").await
        }
        ConnectionCommand::Refresh { which, force } => {
            let path = path(session, &which, "/refresh");
            let json = session.value(Method::POST, &path, &json!({"force": force})).await?;
            session.show(json, |state: TokenState| {
                let until = state.expires_at.map_or(String::new(), |at| {
                    format!(", its token is good until {}", timestamp(at))
                });
                output::line(format!("{} is {}{until}", name(&which), phase(state.phase)));
            })
        }
        ConnectionCommand::Obtain(typed) => obtain(session, *typed).await,
        ConnectionCommand::Import { file, dry_run, replace } => {
            import(session, &file, dry_run, replace).await
        }
        ConnectionCommand::Export { which, recipient, .. } => {
            export(session, &which, recipient).await
        }
    }
}

/// What is set.
fn credential(
    no_secret: bool,
    user: Option<String>,
    secret_file: Option<&Path>,
    base_url: Option<String>,
) -> anyhow::Result<Value> {
    let mut body = match (no_secret, user) {
        (true, _) => json!({}),
        (false, None) => json!({"token": secret(secret_file)?}),
        (false, Some(user)) => {
            // Of a user it may be empty: some providers take a key as the user.
            json!({"user": user, "password": typed(secret_file)?})
        }
    };
    if let Some(base_url) = base_url {
        body["base_url"] = base_url.into();
    }
    Ok(body)
}

async fn set(session: &Session, typed: args::Set) -> anyhow::Result<Exit> {
    let args::Set { which, user, secret_file, session_token_file, no_secret, base_url, no_test } =
        typed;
    let mut body = credential(no_secret, user, secret_file.as_deref(), base_url)?;
    if let Some(file) = session_token_file {
        body["session_token"] = secret(Some(&file))?.into();
    }
    let mark = if which.for_user.is_some() { '&' } else { '?' };
    let query = if no_test { format!("{mark}test=false") } else { String::new() };
    let path = format!("{}{query}", path(session, &which, ""));
    let json = session.value(Method::PUT, &path, &body).await?;
    session.show(json, |connection: Connection| {
        let Connection { kind, generation, .. } = connection;
        output::line(format!("{} is set ({kind}), generation {generation}", name(&which)));
    })
}

async fn set_all(
    session: &Session,
    (tenant, connector): (&str, &str),
    for_user: Option<&str>,
    file: &Path,
    no_test: bool,
) -> anyhow::Result<Exit> {
    let text = match file == Path::new("-") {
        true => standard_input()?,
        false => std::fs::read_to_string(file)
            .with_context(|| format!("credentials {}", file.display()))?,
    };
    // A parser's complaint quotes what it complains about, which here may be a secret.
    let slots = keyway_core::json::tree(&text)
        .map_err(|_| anyhow::anyhow!("credentials {} are no JSON", file.display()))?;
    let user = for_user.iter().map(|user| format!("user={}", encoded(user)));
    let query: Vec<_> = user.chain(no_test.then(|| "test=false".to_owned())).collect();
    let query = if query.is_empty() { String::new() } else { format!("?{}", query.join("&")) };
    let path = session.installation(tenant, connector, &format!("/connections{query}"));
    let body = json!({ "connections": slots });
    let json = session.value(Method::PUT, &path, &body).await?;
    session.show(json, |list: ConnectionList| {
        for Connection { slot, kind, generation, .. } in list.connections {
            output::line(format!(
                "slot {slot} of {tenant} is set ({kind}), generation {generation}"
            ));
        }
    })
}

async fn test(session: &Session, which: &Which) -> anyhow::Result<Exit> {
    let path = path(session, which, "/test");
    let json = session.text(Method::POST, &path, String::new()).await?.answer()?;
    session.show(json, |tested: Tested| {
        let account = tested.account.map(|account| format!(", for account {account}"));
        output::line(format!("{} works{}", name(which), account.unwrap_or_default()));
    })
}

/// The connections of the environment that have tokens.
async fn standing(session: &Session, phase: Option<&str>) -> anyhow::Result<Exit> {
    let path = format!("/v1/environments/{}/connections", encoded(session.environment()));
    let json = session.list(&path, &[("phase", phase)], "connections").await?;
    session.show(json, |list: StandingList| {
        let rows: Vec<_> = list.connections.into_iter().map(standing_row).collect();
        output::table(["TENANT", "CONNECTOR", "SLOT", "USER", "GEN", "STATE", "SET"], &rows);
    })
}

fn standing_row(Standing { tenant, connector, connection }: Standing) -> [String; 7] {
    let [slot, user, _, generation, state, _, set] = row(connection);
    [tenant, connector, slot, user, generation, state, set]
}

/// A file called `-` is standard input.
async fn obtain(session: &Session, typed: args::Obtain) -> anyhow::Result<Exit> {
    let args::Obtain {
        which,
        subject_file,
        base_url,
        variables,
        client_id,
        client_secret_file,
        key_id,
    } = typed;
    let mut body = json!({});
    if let Some((id, file)) = client_id.zip(client_secret_file) {
        body["client_id"] = id.into();
        body["client_secret"] = secret((file != Path::new("-")).then_some(&file))?.into();
    }
    if let Some(key_id) = key_id {
        body["key_id"] = key_id.into();
    }
    let variables: BTreeMap<_, _> = variables.into_iter().collect();
    body["variables"] = json!(variables);
    if let Some(file) = subject_file.as_deref() {
        let file = (file != Path::new("-")).then_some(file);
        body["subject_token"] = secret(file)?.into();
    }
    if let Some(base_url) = base_url {
        body["base_url"] = base_url.into();
    }
    let json = session.value(Method::POST, &path(session, &which, "/obtain"), &body).await?;
    session.show(json, |connection: Connection| {
        let Connection { generation, account, .. } = connection;
        let account = account.map_or(String::new(), |account| format!(" for account {account}"));
        output::line(format!("{} is connected{account}, generation {generation}", name(&which)));
    })
}

async fn pause(session: &Session, which: &Which, wait: u32) -> anyhow::Result<Exit> {
    let mark = if which.for_user.is_some() { '&' } else { '?' };
    let path = format!("{}{mark}wait_seconds={wait}", path(session, which, "/pause"));
    let json = session.text(Method::POST, &path, String::new()).await?.answer()?;
    session.show(json, |receipt: PauseReceipt| {
        let at = timestamp(receipt.drained_at);
        let cut = match receipt.cut {
            0 => String::new(),
            1 => "; 1 exchange was cut".to_owned(),
            cut => format!("; {cut} exchanges were cut"),
        };
        output::line(format!("{} is paused, and idle since {at}{cut}", name(which)));
    })
}

async fn switch(session: &Session, which: &Which, verb: &str, done: &str) -> anyhow::Result<Exit> {
    let path = path(session, which, &format!("/{verb}"));
    let json = session.text(Method::POST, &path, String::new()).await?.answer()?;
    session.show(json, |connection: Connection| {
        let generation = connection.generation;
        output::line(format!("{} {done}, generation {generation}", name(which)));
    })
}

async fn import(session: &Session, file: &Path, dry: bool, replace: bool) -> anyhow::Result<Exit> {
    let text = if file == Path::new("-") {
        standard_input()?
    } else {
        text_of(file).with_context(|| format!("import {}", file.display()))?
    };
    let environment = encoded(session.environment());
    let query = format!("dry_run={dry}&replace={replace}");
    let path = format!("/v1/environments/{environment}/connections/import?{query}");
    let lines: Vec<&str> = text.lines().collect();
    check_apart(&lines)?;
    // Blank lines are left to the host, so that its line numbers are those of the file.
    let filled = |run: &[&str]| run.iter().any(|line| !line.trim().is_empty());
    let mut runs: Vec<(usize, &[&str])> =
        lines.chunks(IMPORT_LINES).enumerate().filter(|(_, run)| filled(run)).collect();
    // That nothing is there is for the host to say too.
    if runs.is_empty() {
        runs.push((0, &[]));
    }
    let mut exit = Exit::Success;
    for (at, run) in runs {
        let before = at * IMPORT_LINES;
        let body = run.join("\n");
        let reply = session.send(Method::POST, &path, LINES_TYPE, body.into()).await;
        // What was said of the lines before stands; of these nothing is known.
        let reply = match before {
            0 => reply?,
            _ => reply.with_context(|| format!("lines {} and on", before + 1))?,
        };
        for outcome in reply.body.lines().filter(|line| !line.trim().is_empty()) {
            let mut outcome = Answer::read(outcome)?.members()?;
            if outcome.get("problem").is_some() {
                exit = Exit::Refused;
            }
            let line: u64 = outcome.read("line")?.unwrap_or_default();
            outcome.set("line", &(line + before as u64))?;
            session.show(Answer::of(&outcome)?, said)?;
        }
    }
    Ok(exit)
}

/// Refuses a file in which two runs have the same connection: the host sees to it in one.
fn check_apart(lines: &[&str]) -> anyhow::Result<()> {
    let mut seen = HashMap::new();
    for (at, line) in lines.iter().enumerate() {
        // What is no JSON is for the host to say.
        let Ok(line) = keyway_core::json::tree(line) else { continue };
        let of = ["tenant", "connector", "slot", "user"].map(|field| line[field].to_string());
        let before = *seen.entry(of).or_insert(at);
        if before / IMPORT_LINES != at / IMPORT_LINES {
            bail!(
                "line {} is of the same connection as line {}; nothing was sent",
                at + 1,
                before + 1
            );
        }
    }
    Ok(())
}

fn said(outcome: LineOutcome) {
    let LineOutcome { line, imported, problem } = outcome;
    if let Some(problem) = problem {
        output::note(format!("keyway: line {line}: {}: {}", problem.code, problem.detail));
    }
    let Some(imported) = imported else { return };
    warn(line, &imported);
    let Imported { tried, account, replaces, connection, .. } = imported;
    let tried = match (tried, account) {
        (true, Some(account)) => format!("works, for account {account}"),
        (true, None) => "works".to_owned(),
        (false, _) => {
            "is not tried: it has ended, or the release names no request that would tell".to_owned()
        }
    };
    match connection {
        None => {
            let would = would(replaces);
            output::line(format!("line {line}: the token {tried}; {would}; nothing is changed"));
        }
        Some(Connection { slot, user, generation, .. }) => {
            let user = user.map_or(String::new(), |user| format!(" of user {user}"));
            output::line(format!(
                "line {line}: the token {tried}; slot {slot}{user} is imported, generation {generation}"
            ));
        }
    }
}

/// What is taken all the same, and may be missed later.
fn warn(line: usize, imported: &Imported) {
    let Imported { missing_scopes, warning, .. } = imported;
    if !missing_scopes.is_empty() {
        let missing = missing_scopes.join(" ");
        output::note(format!("keyway: warning: line {line}: scopes are missing: {missing}"));
    }
    if let Some(warning) = warning {
        output::note(format!("keyway: warning: line {line}: {warning}"));
    }
}

/// What an import that is not dry would do.
fn would(replaces: Option<Replaced>) -> String {
    let Some(Replaced { generation, account }) = replaces else {
        return "it would be a new connection".to_owned();
    };
    let account = account.map_or(String::new(), |account| format!(", for account {account}"));
    format!("it would replace generation {generation}{account}")
}

async fn export(
    session: &Session,
    which: &Which,
    recipient: Option<String>,
) -> anyhow::Result<Exit> {
    let body = recipient.map_or(json!({}), |recipient| json!({ "recipient": recipient }));
    let json = session.value(Method::POST, &path(session, which, "/export"), &body).await?;
    let exported = json.members()?;
    let armor: Option<String> = exported.read("sealed")?;
    session.show(json, |_: IgnoredAny| match armor {
        Some(armor) => output::page(&armor),
        None => output::json(exported.get("clear").map_or("null", RawValue::get), false),
    })
}

fn path(session: &Session, which: &Which, rest: &str) -> String {
    let Which { tenant, connector, slot, for_user } = which;
    let user = for_user.as_ref().map_or(String::new(), |user| format!("?user={}", encoded(user)));
    let rest = format!("/connections/{}{rest}{user}", encoded(slot));
    session.installation(tenant, connector, &rest)
}

/// The connection, for a sentence.
fn name(which: &Which) -> String {
    let Which { tenant, slot, for_user, .. } = which;
    match for_user {
        None => format!("slot {slot} of {tenant}"),
        Some(user) => format!("slot {slot} of user {user} of {tenant}"),
    }
}

const fn phase(phase: TokenPhase) -> &'static str {
    match phase {
        TokenPhase::Ready => "ready",
        TokenPhase::Refreshing => "refreshing",
        TokenPhase::Uncertain => "uncertain",
        TokenPhase::NeedsReauth => "needs-reauth",
    }
}

fn row(of: Connection) -> [String; 7] {
    let mut state = vec![of.state.as_ref().map_or("set", |state| phase(state.phase)).to_owned()];
    state.extend(of.paused.then(|| "paused".to_owned()));
    state.extend(of.hold_refresh.then(|| "refresh held".to_owned()));
    state.extend(of.watch.and_then(watched));
    [
        of.slot,
        of.user.unwrap_or("-".to_owned()),
        of.kind,
        of.generation.to_string(),
        state.join(", "),
        of.base_url.unwrap_or("-".to_owned()),
        timestamp(of.at),
    ]
}

/// How an import does, as long as it is watched.
fn watched(Watch { state, until, refreshes }: Watch) -> Option<String> {
    let state = match state {
        WatchState::Waiting => "waiting",
        WatchState::Proven => "proven",
        WatchState::Failing => "failing",
        WatchState::Over => return None,
    };
    Some(format!("watched until {} ({state}, refreshes: {refreshes})", timestamp(until)))
}

/// A secret from a file, from standard input or typed unseen; never from the command line: other users see that.
fn secret(file: Option<&Path>) -> anyhow::Result<String> {
    let secret = typed(file)?;
    if secret.is_empty() {
        bail!("the secret is empty");
    }
    Ok(secret)
}

/// The same, which may be empty.
fn typed(file: Option<&Path>) -> anyhow::Result<String> {
    let text = match file {
        Some(file) => std::fs::read_to_string(file)
            .with_context(|| format!("secret file {}", file.display()))?,
        None if std::io::stdin().is_terminal() => {
            rpassword::prompt_password("secret: ").context("terminal")?
        }
        None => standard_input()?,
    };
    let secret = text.strip_suffix('\n').unwrap_or(&text);
    Ok(secret.strip_suffix('\r').unwrap_or(secret).to_owned())
}

/// The operator's OAuth clients.
pub(crate) async fn client(session: &Session, command: ClientCommand) -> anyhow::Result<Exit> {
    let environment = encoded(session.environment());
    let path = |connector: &str, slot: &str| {
        let connector = connector_path(connector);
        let slot = encoded(slot);
        format!("/v1/environments/{environment}/connectors/{connector}/clients/{slot}")
    };
    match command {
        ClientCommand::Set { connector, slot, id, secret_file, key_id, public } => {
            let mut body = json!({ "client_id": id });
            if let Some(key_id) = key_id {
                body["key_id"] = key_id.into();
            }
            if !public {
                body["client_secret"] = secret(secret_file.as_deref())?.into();
            }
            let json = session.value(Method::PUT, &path(&connector, &slot), &body).await?;
            if let Some(warning) = json.members()?.read::<String>("warning")? {
                output::note(format!("keyway: warning: {warning}"));
            }
            session.show(json, |client: Client| {
                let Client { environment, client_id, generation, hosts, .. } = client;
                output::note(format!("it may be presented to {}", hosts.join(" and ")));
                output::line(format!(
                    "slot {slot} of {connector} in {environment} has the client {client_id}, generation {generation}"
                ));
            })
        }
        ClientCommand::List => {
            let json = session.get(&format!("/v1/environments/{environment}/clients")).await?;
            session.show(json, |list: ClientList| {
                let rows: Vec<_> = list.clients.into_iter().map(client_row).collect();
                output::table(
                    ["CONNECTOR", "SLOT", "CLIENT", "SECRET", "GEN", "SHARED WITH", "SET"],
                    &rows,
                );
            })
        }
        ClientCommand::Remove { connector, slot } => {
            let path = path(&connector, &slot);
            session.send(Method::DELETE, &path, "application/json", Bytes::new()).await?;
            let text = format!("slot {slot} of {connector} has no client any more");
            let gone = json!({"removed": {"connector": connector, "slot": slot}});
            Ok(session.gone(gone, text))
        }
    }
}

fn client_row(client: Client) -> [String; 7] {
    [
        client.connector,
        client.slot,
        client.client_id,
        if client.has_secret { "yes" } else { "no" }.to_owned(),
        client.generation.to_string(),
        dash(&client.shared_with),
        timestamp(client.at),
    ]
}

/// Words in a cell.
fn dash(words: &[String]) -> String {
    if words.is_empty() { "-".to_owned() } else { words.join(" ") }
}

/// What a release needs of its provider, and what was granted.
pub(crate) async fn scopes(session: &Session, typed: args::Scopes) -> anyhow::Result<Exit> {
    let args::Scopes { tenant, connector, release } = typed;
    let json = granted(session, &tenant, &connector, release.as_deref()).await?;
    session.show(json, |scopes: Scopes| print_scopes(&scopes))
}

/// What a release needs, and what was granted to a tenant and its users. None: the release that the tenant runs.
pub(crate) async fn granted(
    session: &Session,
    tenant: &str,
    connector: &str,
    release: Option<&str>,
) -> anyhow::Result<Answer> {
    let query = release.map_or(String::new(), |release| format!("?release={}", encoded(release)));
    session.get(&session.installation(tenant, connector, &format!("/scopes{query}"))).await
}

/// Prints them, a row for the tenant's own of each slot and one for each user who lacks something.
pub(crate) fn print_scopes(scopes: &Scopes) {
    let rows: Vec<_> = scopes.slots.iter().flat_map(scope_rows).collect();
    output::table(["SLOT", "USER", "REQUIRED", "GRANTED", "MISSING"], &rows);
}

/// The tenant's own, then the users whose connections lack something.
fn scope_rows(slot: &SlotScopes) -> Vec<[String; 5]> {
    let granted = slot.granted.as_deref().map_or("unknown".to_owned(), dash);
    let row = |user: &str, granted: String, missing: &[String]| {
        [slot.slot.clone(), user.to_owned(), dash(&slot.required), granted, dash(missing)]
    };
    let mut rows = vec![row("-", granted, &slot.missing)];
    for of in &slot.users {
        let has = slot.required.iter().filter(|scope| !of.missing.contains(scope)).cloned();
        let has: Vec<_> = has.collect();
        rows.push(row(&of.user, dash(&has), &of.missing));
    }
    rows
}
