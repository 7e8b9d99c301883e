//! The `keyway` binary: what was typed, to an exit code.

mod answer;
mod app;
mod args;
mod client;
mod clock;
mod commands;
mod config;
mod env;
mod exit;
mod files;
mod logging;
mod memory;
mod output;
mod usage;

use std::process::ExitCode;

use clap::Parser as _;
use keyway_api::contract::installation::{Revert, SetPin, Unpin};

use crate::args::{Allow, Cli, Command};
use crate::client::Unreachable;
use crate::commands::remote::{Refused, Session, Unfit};
use crate::commands::{
    admit, calls, check, connect, connections, explain, keys, logs, new, pins, proxy, quotas,
    releases, serve, settings, tenants, tokens,
};
use crate::exit::Exit;

fn main() -> ExitCode {
    let Cli { remote, command } = match Cli::try_parse() {
        Ok(typed) => typed,
        Err(error) => return usage::misread(&error),
    };
    let json = remote.json;
    if remote.wide {
        output::widen();
    }
    let outcome = match command {
        Command::Serve(typed) => return serve::serve(typed, json).into(),
        Command::AdmitComponent => return admit::admit(),
        Command::Explain { code } => return explain::explain(code.as_deref(), json).into(),
        Command::New(typed) => new::new(typed),
        Command::Check(typed) => check::check(&typed, remote.json),
        remote_command => Session::new(remote).and_then(|session| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(run(&session, remote_command))
        }),
    };
    let exit = outcome.unwrap_or_else(|error| report(&error, json));
    // A secret that is shown once and did not reach its file must not look as if it had.
    if exit == Exit::Success && output::incomplete() { Exit::Failure } else { exit }.into()
}

/// Commands that talk to a running host.
async fn run(session: &Session, command: Command) -> anyhow::Result<Exit> {
    match command {
        Command::Publish { file } => releases::publish(session, &file).await,
        Command::Releases { connector } => releases::list(session, connector.as_deref()).await,
        Command::Show { release, tenant: None } => releases::show(session, &release).await,
        Command::Show { release, tenant: Some(tenant) } => {
            releases::show_for(session, &release, &tenant).await
        }
        Command::Diff { before, after } => releases::diff(session, &before, &after).await,
        Command::Pin { tenant, connector, release, reason, generation, allow } => {
            let Allow { allow_missing_scopes, allow_other_scheme } = allow;
            let request =
                SetPin { release, reason, generation, allow_missing_scopes, allow_other_scheme };
            pins::pin(session, &tenant, &connector, &request).await
        }
        Command::Unpin { tenant, connector, reason, generation, allow } => {
            let Allow { allow_missing_scopes, allow_other_scheme } = allow;
            let request = Unpin { reason, generation, allow_missing_scopes, allow_other_scheme };
            pins::unpin(session, &tenant, &connector, &request).await
        }
        Command::Revert { tenant, connector, reason, to, generation } => {
            let request = Revert { reason, to, generation };
            pins::revert(session, &tenant, &connector, &request).await
        }
        Command::Pins { tenant, connector, all } => {
            pins::list(session, tenant.as_deref(), connector.as_deref(), all).await
        }
        Command::History { tenant, connector } => pins::history(session, &tenant, &connector).await,
        Command::Tenant(command) => tenants::tenant(session, command).await,
        Command::Default(command) => pins::default(session, command).await,
        Command::Connection(command) => connections::connection(session, command).await,
        Command::Client(command) => connections::client(session, command).await,
        Command::Scopes(typed) => connections::scopes(session, typed).await,
        Command::Connect(typed) => connect::connect(session, typed).await,
        Command::Config(command) => settings::config(session, command).await,
        Command::Invoke { tenant, connector, action, input, calling } => {
            let session = &session.calling(&calling)?;
            calls::invoke(session, &tenant, &connector, &action, input).await
        }
        Command::Discover { tenant, connector, object, calling } => {
            let session = &session.calling(&calling)?;
            calls::discover(session, &tenant, &connector, object.as_deref()).await
        }
        Command::Read { tenant, connector, object, request, calling } => {
            let session = &session.calling(&calling)?;
            calls::read(session, &tenant, &connector, &object, request).await
        }
        Command::Write { tenant, connector, object, request, calling } => {
            let session = &session.calling(&calling)?;
            calls::write(session, &tenant, &connector, &object, request).await
        }
        Command::ProxyUrl { tenant, connector, slot, user } => {
            proxy::url(session, (&tenant, &connector), slot.as_deref(), user.as_deref()).await
        }
        Command::Quotas { tenant, connector } => {
            quotas::list(session, tenant.as_deref(), connector.as_deref()).await
        }
        Command::Token(command) => tokens::token(session, command).await,
        Command::Keys { command } => keys::keys(session, command).await,
        Command::Logs(command) => logs::logs(session, command).await,
        Command::Audit { after, limit } => tokens::audit(session, after, limit).await,
        Command::Serve(_)
        | Command::New(_)
        | Command::Check(_)
        | Command::Explain { .. }
        | Command::AdmitComponent => {
            anyhow::bail!("this command talks to no host")
        }
    }
}

/// Says what went wrong and what that means for a script.
fn report(error: &anyhow::Error, json: bool) -> Exit {
    let (exit, code) = match error.downcast_ref::<Refused>() {
        Some(refused) if json => {
            output::problem(refused.document());
            return refused.exit();
        }
        Some(refused) => {
            output::note(format!("keyway: {refused}"));
            return refused.exit();
        }
        None if error.is::<Unreachable>() => (Exit::Unreachable, "unreachable"),
        None => match error.downcast_ref::<Unfit>() {
            Some(unfit) => (Exit::Refused, unfit.code.as_str()),
            None => (Exit::Failure, "failed"),
        },
    };
    let detail = match error.downcast_ref::<Unfit>() {
        // Its code stands beside it.
        Some(unfit) if json => unfit.detail.clone(),
        _ => format!("{error:#}"),
    };
    output::failure(json, code, &detail);
    exit
}
