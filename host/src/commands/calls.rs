//! `keyway invoke`, `discover`, `read`, `write`: one call, its answer as JSON.
//!
//! The answer goes to standard output whether or not `--json` was given; what ran goes to standard
//! error.

use http::Method;
use hyper::body::Bytes;
use keyway_api::contract::call::Outcomes;

use crate::answer::Answer;
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
    let reply = session.text(Method::POST, &path, typed_or_piped(input)?).await?;
    answer(session, &reply, &reply.answer()?);
    Ok(Exit::Success)
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
    let reply = session.send(Method::GET, &path, "application/json", Bytes::new()).await?;
    answer(session, &reply, &reply.answer()?);
    Ok(Exit::Success)
}

/// Reads a page.
pub(crate) async fn read(
    session: &Session,
    tenant: &str,
    connector: &str,
    object: &str,
    request: String,
) -> anyhow::Result<Exit> {
    let reply = on_object(session, tenant, connector, (object, "read"), request).await?;
    answer(session, &reply, &reply.answer()?);
    Ok(Exit::Success)
}

/// Writes a batch. The answer is the same whatever became of the items; a batch of which nothing was written has failed.
pub(crate) async fn write(
    session: &Session,
    tenant: &str,
    connector: &str,
    object: &str,
    request: String,
) -> anyhow::Result<Exit> {
    let reply = on_object(session, tenant, connector, (object, "write"), request).await?;
    let text = reply.answer()?;
    let Outcomes { outcomes } = text.to()?;
    answer(session, &reply, &text);
    let (items, refused) =
        (outcomes.len(), outcomes.iter().filter(|item| item.refused.is_some()).count());
    if refused > 0 {
        let detail = format!("{refused} of {items} items were refused");
        output::failure(session.json(), "items-refused", &detail);
    }
    Ok(if refused > 0 && refused == items { Exit::CallFailed } else { Exit::Success })
}

async fn on_object(
    session: &Session,
    tenant: &str,
    connector: &str,
    (object, verb): (&str, &str),
    request: String,
) -> anyhow::Result<Reply> {
    let rest = format!("/objects/{}/{verb}", encoded(object));
    let path = session.installation(tenant, connector, &rest);
    session.text(Method::POST, &path, typed_or_piped(request)?).await
}

/// JSON text as typed or piped: what is sent is what was given.
fn typed_or_piped(text: String) -> anyhow::Result<String> {
    if text == "-" { standard_input() } else { Ok(text) }
}

fn answer(session: &Session, reply: &Reply, answer: &Answer) {
    if session.json() {
        output::json(answer.text(), false);
        return;
    }
    let field = |name: &str| reply.headers.get(name).and_then(|value| value.to_str().ok());
    if let (Some(release), Some(call)) = (field("keyway-release"), field("keyway-call")) {
        output::note(format!("{release} {call}"));
    }
    output::json(answer.text(), true);
}
