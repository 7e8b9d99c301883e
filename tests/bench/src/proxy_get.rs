//! Rows `proxy-get-1`, `proxy-get-64`, `proxy-get-512` and `proxy-memory`: a GET through the proxy API of the real
//! host, beside a bare hyper proxy, and what an open connection of a caller takes.
//!
//! The processes and their turns are those of `action-get`; only the path that is asked for differs.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use fixtures::Guest;
use harness::Host;
use http::{HeaderMap, HeaderValue, Method, Uri, header};
use serde_json::json;

use crate::load::{self, Load, Shot};
use crate::machine::{self, resident_bytes};
use crate::peers::{Peer, Role};
use crate::report::Row;
use crate::rows;
use crate::tenants::{path, pin, publish};

/// Connections to each side, and the row that they are for.
const LEVELS: [(usize, &str); 3] =
    [(1, "proxy-get-1"), (64, "proxy-get-64"), (512, "proxy-get-512")];

/// Turns of each side.
const ROUNDS: usize = 15;

/// One turn: thousands of requests, and short enough that noise of seconds meets both.
const TURN: Duration = Duration::from_secs(1);

/// Connections whose memory is looked at.
const OPEN: usize = 512;

/// After connections were opened, until the host has accepted them all.
const SETTLING: Duration = Duration::from_secs(1);

const CONNECTOR: &str = "fixtures/pages";
const TENANT: &str = "acme";

/// Measures the rows.
pub(crate) async fn measure() -> anyhow::Result<Vec<Row>> {
    let folder = machine::scratch()?;
    let upstream = Peer::start(Role::Upstream)?;
    let proxy = Peer::start(Role::Proxy { to: upstream.address })?;
    let host = Host::start(&folder.path().join("data"), &config(upstream.address));
    configure(&host).await?;
    let memory = memory(&host, &proxy).await?;
    let mut rows = Vec::with_capacity(LEVELS.len() + 1);
    for (connections, row) in LEVELS {
        rows.push(throughput(&host, proxy.address, connections, row).await?);
    }
    rows.push(memory);
    Ok(rows)
}

async fn throughput(
    host: &Host,
    proxy: SocketAddr,
    connections: usize,
    row: &str,
) -> anyhow::Result<Row> {
    let mut ours = Load::open(host.address, connections, relayed(host)?).await?;
    let mut floor = Load::open(proxy, connections, get(proxy, "/things/1", None)?).await?;
    let rounds = load::by_turns(&mut ours, &mut floor, ROUNDS, TURN).await?;
    let seconds = TURN.as_secs();
    let detail =
        format!("{ROUNDS} rounds of {seconds} s each over {connections} connections, by turns");
    Ok(Row::beside(row, &rounds, detail))
}

async fn memory(host: &Host, proxy: &Peer) -> anyhow::Result<Row> {
    let ours = held(host.id(), host.address, relayed(host)?).await?;
    let floor = held(proxy.id(), proxy.address, get(proxy.address, "/things/1", None)?).await?;
    let detail = format!(
        "{OPEN} connections; before its first request each takes {:.0} bytes, the floor's {:.0}",
        ours.idle, floor.idle
    );
    Ok(Row::beside(rows::PROXY_MEMORY, &[(ours.used, floor.used)], detail))
}

/// Bytes that a server holds for each of many connections.
struct Held {
    /// Before its first request.
    idle: f64,
    /// After a turn of requests on all of them, with the connections to the upstream.
    used: f64,
}

/// On a server that has served before: what its first requests took is no connection's.
async fn held(id: u32, address: SocketAddr, shot: Shot) -> anyhow::Result<Held> {
    Load::open(address, 1, shot.clone()).await?.rate(TURN).await?;
    let before = resident_bytes(id)?;
    let mut load = Load::open(address, OPEN, shot).await?;
    tokio::time::sleep(SETTLING).await;
    let idle = each(before, resident_bytes(id)?);
    load.rate(TURN).await?;
    Ok(Held { idle, used: each(before, resident_bytes(id)?) })
}

fn each(before: u64, after: u64) -> f64 {
    // Below 2^53, so exact.
    after.saturating_sub(before) as f64 / OPEN as f64
}

async fn configure(host: &Host) -> anyhow::Result<()> {
    let mut operator = host.http();
    publish(&mut operator, Guest::named("pages").load()?).await;
    pin(&mut operator, TENANT, CONNECTOR, "1.0.0").await;
    let slot = path(TENANT, CONNECTOR, "/connections/token");
    operator.put(&slot, json!({"token": "a-token-of-no-worth"})).await.ok();
    Ok(())
}

/// The declared host stands for the upstream, and one tenant may have all connections under way at once.
fn config(upstream: SocketAddr) -> String {
    format!(
        "[calls]\ntenant-calls-max = {OPEN}\n\
         [egress.limits]\nin-flight-per-tenant-max = {OPEN}\nidle-per-host-max = {OPEN}\n\
         [[egress.stand-in]]\nhost = \"api.example.com\"\naddress = \"http://{upstream}\"\n"
    )
}

fn relayed(host: &Host) -> anyhow::Result<Shot> {
    get(host.address, &path(TENANT, CONNECTOR, "/proxy/things/1"), Some(&host.token))
}

fn get(server: SocketAddr, path: &str, token: Option<&str>) -> anyhow::Result<Shot> {
    let mut headers =
        HeaderMap::from_iter([(header::HOST, HeaderValue::from_str(&server.to_string())?)]);
    if let Some(token) = token {
        headers.insert(header::AUTHORIZATION, format!("Bearer {token}").parse()?);
    }
    Ok(Shot {
        method: Method::GET,
        path: path.parse::<Uri>()?,
        headers,
        body: Bytes::new(),
        contains: "lorem ipsum",
    })
}
