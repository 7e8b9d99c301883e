//! `keyway invoke`, `discover`, `read`, `write`: one call, its answer as JSON.
//!
//! The answer goes to standard output whether or not `--json` was given; what ran goes to standard
//! error.

use http::Method;
use hyper::body::Bytes;

use crate::client::Reply;
use crate::commands::remote::{Session, encoded};
use crate::commands::settings::standard_input;
use crate::exit::Exit;
use crate::output;

/// Runs an action.
pub(crate) async fn invoke(
    session: &Session,
    tenant: &str,
    connector: &str,
    action: &str,
    input: String,
) -> anyhow::Result<Exit> {
    let path = session.installation(tenant, connector, &format!("/actions/{}", encoded(action)));
    answer(session, session.text(Method::POST, &path, typed_or_piped(input)?).await?)
}

/// Shows the schemas of a tenant's objects.
pub(crate) async fn discover(
    session: &Session,
    tenant: &str,
    connector: &str,
    object: Option<&str>,
) -> anyhow::Result<Exit> {
    let object = object.map_or(String::new(), |object| format!("/{}", encoded(object)));
    let path = session.installation(tenant, connector, &format!("/objects{object}"));
    answer(session, session.send(Method::GET, &path, "application/json", Bytes::new()).await?)
}

/// Reads a page, or writes a batch.
pub(crate) async fn on_object(
    session: &Session,
    tenant: &str,
    connector: &str,
    object: &str,
    verb: &str,
    request: String,
) -> anyhow::Result<Exit> {
    let rest = format!("/objects/{}/{verb}", encoded(object));
    let path = session.installation(tenant, connector, &rest);
    answer(session, session.text(Method::POST, &path, typed_or_piped(request)?).await?)
}

fn typed_or_piped(text: String) -> anyhow::Result<String> {
    if text == "-" { standard_input() } else { Ok(text) }
}

fn answer(session: &Session, reply: Reply) -> anyhow::Result<Exit> {
    if session.json() {
        output::json(&reply.json, false);
        return Ok(Exit::Success);
    }
    let field = |name: &str| reply.headers.get(name).and_then(|value| value.to_str().ok());
    if let (Some(release), Some(call)) = (field("keyway-release"), field("keyway-call")) {
        output::note(format!("{release} {call}"));
    }
    output::json(&reply.json, true);
    Ok(Exit::Success)
}
