//! `keyway connect`: a link for a person.

use http::Method;
use keyway_api::contract::connect::{BeginConnect, ConnectSession};

use crate::args::Connect;
use crate::commands::pins::timestamp;
use crate::commands::remote::Session;
use crate::exit::Exit;
use crate::output;

/// Begins a connect session and prints its link. Whoever has the link can connect, so it is the data, and alone on
/// standard output.
pub(crate) async fn connect(session: &Session, typed: Connect) -> anyhow::Result<Exit> {
    let Connect { tenant, connector, slot, user, return_url, variables } = typed;
    let path = session.installation(&tenant, &connector, "/connect-sessions");
    let variables = variables.into_iter().collect();
    let wanted = BeginConnect { slot, user, return_url, variables, ..BeginConnect::default() };
    let json = session.value(Method::POST, &path, &wanted).await?;
    session.show(json, |begun: ConnectSession| {
        output::line(begun.url.unwrap_or_default());
        let until = timestamp(begun.expires_at);
        output::note(format!("good once, until {until}, for slot {} of {tenant}", begun.slot));
    })
}
