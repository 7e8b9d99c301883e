//! Rows `action-get` and `action-get-raw`: an action with one upstream GET through the real host, beside a bare hyper
//! proxy, and beside the least that runs the same component.
//!
//! Five processes: this one sends the load, one is the upstream, the others are the host and the two floors, which take
//! turns; those whose turn it is not have nothing to do.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use fixtures::Guest;
use harness::Host;
use http::{HeaderMap, HeaderValue, Method, Uri, header};
use serde_json::json;

use crate::load::{self, Load, Shot};
use crate::machine;
use crate::peers::{Peer, Role};
use crate::report::Row;
use crate::rows;
use crate::tenants::{path, pin, publish};

/// Connections to each side; the budget names the figure.
const CONNECTIONS: usize = 64;

/// Turns of each side.
const ROUNDS: usize = 9;

/// One turn: thousands of calls, and short enough that noise of seconds meets both.
const TURN: Duration = Duration::from_secs(2);

const CONNECTOR: &str = "fixtures/fetch";
const TENANT: &str = "acme";

/// Measures the row.
pub(crate) async fn measure() -> anyhow::Result<Vec<Row>> {
    let folder = machine::scratch()?;
    let upstream = Peer::start(Role::Upstream)?;
    let proxy = Peer::start(Role::Proxy { to: upstream.address })?;
    let component = folder.path().join("fetch.wasm");
    std::fs::write(&component, Guest::named("fetch").load()?)?;
    let raw = Peer::start(Role::Component { to: upstream.address, component })?;
    let host = Host::start(&folder.path().join("data"), &config(upstream.address));
    configure(&host).await?;
    let mut ours = Load::open(host.address, CONNECTIONS, action(&host)?).await?;
    let mut proxy = Load::open(proxy.address, CONNECTIONS, get(proxy.address)?).await?;
    let shot = Shot { headers: headers(raw.address)?, ..action(&host)? };
    let mut raw = Load::open(raw.address, CONNECTIONS, shot).await?;
    let seconds = TURN.as_secs();
    let detail =
        format!("{ROUNDS} rounds of {seconds} s each over {CONNECTIONS} connections, by turns");
    let beside_proxy = load::by_turns(&mut ours, &mut proxy, ROUNDS, TURN).await?;
    let beside_raw = load::by_turns(&mut ours, &mut raw, ROUNDS, TURN).await?;
    Ok(vec![
        Row::beside(rows::ACTION_GET, &beside_proxy, detail.clone()),
        Row::beside(rows::ACTION_GET_RAW, &beside_raw, detail),
    ])
}

async fn configure(host: &Host) -> anyhow::Result<()> {
    let mut operator = host.http();
    publish(&mut operator, Guest::named("fetch").load()?).await;
    pin(&mut operator, TENANT, CONNECTOR, "1.0.0").await;
    let slot = path(TENANT, CONNECTOR, "/connections/token");
    operator.put(&slot, json!({"token": "a-token-of-no-worth"})).await.ok();
    Ok(())
}

/// The name that the guest asks for stands for the upstream.
fn config(upstream: SocketAddr) -> String {
    format!("[[egress.stand-in]]\nhost = \"api.example.com\"\naddress = \"http://{upstream}\"\n")
}

fn action(host: &Host) -> anyhow::Result<Shot> {
    let mut headers = headers(host.address)?;
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::AUTHORIZATION, format!("Bearer {}", host.token).parse()?);
    Ok(Shot {
        method: Method::POST,
        path: path(TENANT, CONNECTOR, "/actions/get").parse()?,
        headers,
        body: Bytes::from(json!({"path": "/things/1"}).to_string()),
        contains: "lorem ipsum",
    })
}

fn get(proxy: SocketAddr) -> anyhow::Result<Shot> {
    Ok(Shot {
        method: Method::GET,
        path: Uri::from_static("/things/1"),
        headers: headers(proxy)?,
        body: Bytes::new(),
        contains: "lorem ipsum",
    })
}

fn headers(server: SocketAddr) -> anyhow::Result<HeaderMap> {
    Ok(HeaderMap::from_iter([(header::HOST, server.to_string().parse()?)]))
}
