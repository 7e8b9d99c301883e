//! Crowds of connections, and hardly any open files: other callers are served, and the store stays well.

use std::net::SocketAddr;
use std::time::Duration;

use http::StatusCode;
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::setup::{Place, Setup, connect, path, stand_in};
use crate::upstream::Plain;

const ECHO: &str = "fixtures/echo";
const FETCH: &str = "fixtures/fetch";

/// Open files of the host: half of what is usual for one process of a user, and far fewer than the crowd.
const FILES: u64 = 256;

/// A crowd for which such a host has neither places nor files.
const CROWD: usize = 600;

/// Longer than a busy machine takes for an answer, and shorter than a head may take to arrive: whoever is answered within
/// it did not wait for the crowd to be timed out.
const PATIENCE: Duration = Duration::from_secs(20);

/// This many connections, each of which has sent this; some are shown the door as others come.
async fn crowd(address: SocketAddr, said: &[u8]) -> Vec<TcpStream> {
    let mut crowd = Vec::new();
    for _ in 0..CROWD {
        let mut stream = connect(address).await;
        drop(tokio::time::timeout(Duration::from_millis(20), stream.write_all(said)).await);
        crowd.push(stream);
    }
    crowd
}

/// All that operators and callers do, each on a connection of its own.
async fn is_served(setup: &mut Setup) {
    let served = async {
        for tenant in ["acme", "other"] {
            setup.http = setup.host.http();
            setup.publish("echo").await.ok();
            setup.http = setup.host.http();
            setup.pin(tenant, ECHO, "1.0.0").await;
            setup.http = setup.host.http();
            let reply = setup.act(tenant, ECHO, "echo", json!({"n": 1})).await.ok();
            assert_eq!(reply.json(), json!({"n": 1}));
        }
        setup.http = setup.host.http();
        assert_eq!(setup.http.get("/readyz").await.status, StatusCode::OK);
        assert!((setup.metric("keyway_store_healthy", &[]).await - 1.0).abs() < f64::EPSILON);
    };
    tokio::time::timeout(PATIENCE, served).await.expect("others are not shut out");
}

#[tokio::test(flavor = "multi_thread")]
async fn more_idle_connections_than_files_shut_nobody_out_and_leave_the_store_well() {
    let place = Place::new("");
    let host = place.start().files_max(FILES).run().expect("few files, and enough");
    let mut setup = place.started(Ok(host));
    assert!(setup.log().contains("too low for api.connections-max"), "{}", setup.log());
    let idle = crowd(setup.host.address, b"").await;
    is_served(&mut setup).await;
    drop(idle);
    is_served(&mut setup).await;
    // And what was kept is there.
    let mut setup = setup.crash();
    let reply = setup.act("acme", ECHO, "version", json!(null)).await.ok();
    assert_eq!(reply.json(), "1.0.0");
    assert!(!setup.log().contains("store takes no more commits"), "{}", setup.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_who_never_read_shut_nobody_out() {
    let place = Place::new("");
    let host = place.start().files_max(FILES).run().expect("few files, and enough");
    let mut setup = place.started(Ok(host));
    let asks = b"GET /openapi.json HTTP/1.1\r\nhost: keyway\r\n\r\n".repeat(100);
    let deaf = crowd(setup.host.address, &asks).await;
    is_served(&mut setup).await;
    assert!(setup.metric("keyway_api_connections_closed_total", &["crowded"]).await > 0.0);
    drop(deaf);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_never_reads_is_cut_while_a_slow_one_gets_everything() {
    let mut setup = Setup::new("[api]\nstall-max = \"2s\"\nrate-bytes-min = 1024\n");
    let mut deaf = connect(setup.host.address).await;
    let asks = b"GET /openapi.json HTTP/1.1\r\nhost: keyway\r\n\r\n".repeat(500);
    drop(tokio::time::timeout(Duration::from_secs(1), deaf.write_all(&asks)).await);
    let mut slow = connect(setup.host.address).await;
    let ask = b"GET /openapi.json HTTP/1.1\r\nhost: keyway\r\nconnection: close\r\n\r\n";
    slow.write_all(ask).await.expect("it listens");
    // Some seconds, in which the deaf one has its time.
    let (mut taken, mut piece) = (Vec::new(), vec![0; 64 << 10]);
    loop {
        tokio::time::sleep(Duration::from_millis(500)).await;
        match slow.read(&mut piece).await.expect("not cut") {
            0 => break,
            bytes => taken.extend_from_slice(&piece[..bytes]),
        }
    }
    assert!(taken.trim_ascii_end().ends_with(b"}"), "all of it: {} bytes", taken.len());
    let cut = async {
        while setup.metric("keyway_api_connections_closed_total", &["slow"]).await < 1.0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, cut).await.expect("two seconds are over");
}

/// A provider that takes connections and says nothing.
async fn silent() -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            kept.push(stream);
        }
    });
    address
}

/// A host with few files whose provider says nothing, and a token that may call there.
async fn with_silent_provider(config: &str) -> (Setup, String) {
    let place = Place::new(&[config, &stand_in("api.example.com", silent().await)].concat());
    let host = place.start().files_max(FILES).run().expect("few files, and enough");
    let mut setup = place.started(Ok(host));
    setup.publish("pages").await.ok();
    setup.pin("acme", "fixtures/pages", "1.0.0").await;
    let slot = path("acme", "fixtures/pages", "/connections/token");
    setup.http.put(&slot, json!({"token": "some-token"})).await.ok();
    let grant = json!({"name": "app", "role": "caller", "environments": ["dev"]});
    let issued = setup.http.post("/v1/tokens", grant).await.ok().json();
    let token = issued["secret"].as_str().expect("text").to_owned();
    (setup, token)
}

/// A request through the proxy, on a connection of its own and with so much time.
async fn proxied(address: SocketAddr, token: &str, millis: u32) -> TcpStream {
    let mut stream = connect(address).await;
    let target = path("acme", "fixtures/pages", "/proxy/x");
    let ask = format!(
        "GET {target} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\nkeyway-timeout-ms: {millis}\r\n\r\n"
    );
    stream.write_all(ask.as_bytes()).await.expect("it listens");
    stream
}

/// Waits until so many requests are under way.
async fn under_way(setup: &mut Setup, count: usize) {
    let waiting = async {
        while setup.metric("keyway_broker_in_flight", &[]).await < count as f64 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("they are let in");
}

/// What comes on a connection until it has a whole head and the beginning of a body.
async fn answered(stream: &mut TcpStream) -> String {
    let mut seen = vec![0; 4_096];
    let read = tokio::time::timeout(PATIENCE, stream.read(&mut seen)).await.expect("answered");
    seen.truncate(read.expect("not cut"));
    String::from_utf8(seen).expect("text")
}

/// Catches one caller's token that takes all places, with requests that are all being answered.
#[tokio::test(flavor = "multi_thread")]
async fn one_token_does_not_take_all_connections() {
    let config = "[api]\npeer-connections-max = 4096\n[calls]\ntime-max = \"60s\"\n";
    let (mut setup, token) = with_silent_provider(config).await;
    let address = setup.host.address;
    // Of 64 places, half are this token's.
    let mut greedy = Vec::new();
    for count in 1..=32 {
        greedy.push(proxied(address, &token, 60_000).await);
        under_way(&mut setup, count).await;
    }
    for _ in 0..8 {
        let mut stream = proxied(address, &token, 60_000).await;
        let refused = answered(&mut stream).await;
        assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
        assert!(refused.contains("token `app` has as many connections"), "{refused}");
        greedy.push(stream);
    }
    is_served(&mut setup).await;
    // Where some are done, there is room again.
    greedy.truncate(20);
    let room = async {
        loop {
            let mut stream = proxied(address, &token, 60_000).await;
            let mut byte = [0];
            let waits = tokio::time::timeout(Duration::from_millis(300), stream.read(&mut byte));
            if waits.await.is_err() {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, room).await.expect("its own places are its own again");
}

/// Catches connections to providers that take the files of the store.
#[tokio::test(flavor = "multi_thread")]
async fn connections_to_providers_are_bounded_by_the_files_there_are() {
    let config = "[api]\npeer-connections-max = 4096\ntoken-connections-max = 4096\n\
        [egress.limits]\nconnections-max = 20\n";
    let (mut setup, token) = with_silent_provider(config).await;
    let address = setup.host.address;
    let mut all = Vec::new();
    // The first have time to outlast those who wait for their places.
    for millis in [[12_000; 20], [2_000; 20]].concat() {
        all.push(proxied(address, &token, millis).await);
        let count = all.len().min(20);
        under_way(&mut setup, count).await;
    }
    let open = open_files(setup.host.id());
    let mut ends = Vec::new();
    for stream in &mut all {
        ends.push(answered(stream).await);
    }
    let count = |code: &str| ends.iter().filter(|end| end.contains(code)).count();
    let exhausted = r#""provider_code":"connections-exhausted","request_sent":false"#;
    assert_eq!(count(exhausted), 20, "{}", ends[39]);
    assert!(ends[39].starts_with("HTTP/1.1 503 "), "{}", ends[39]);
    assert_eq!(count(r#""provider_code":"exchange-timeout""#), 20, "{}", ends[0]);
    assert!(open < FILES, "{open} files");
    is_served(&mut setup).await;
}

/// Files that the process has open.
fn open_files(id: u32) -> u64 {
    let open = std::fs::read_dir(format!("/proc/{id}/fd")).expect("it runs");
    open.count() as u64
}

#[test]
fn a_host_without_room_for_its_own_files_says_so() {
    let ended = Place::new("").start().files_max(63).run().err().expect("no start");
    assert_eq!(ended.code, Some(7));
    assert!(ended.said.contains("the limit on open files is 63"), "{}", ended.said);
}

/// The number that the next file of the host gets: the system gives the lowest that is free.
fn next_file(id: u32) -> u64 {
    let folder = format!("/proc/{id}/fd");
    let open = |number: &u64| std::fs::symlink_metadata(format!("{folder}/{number}")).is_ok();
    (0..).find(|number| !open(number)).expect("some number is free")
}

/// Lets the host open this many files, and no more; what it has stays open.
fn limit_files(id: u32, files: u64) {
    let pid = i32::try_from(id).ok().and_then(Pid::from_raw);
    // Only the soft limit: the hard one is the tests' own, which the host has as well.
    let maximum = getrlimit(Resource::Nofile).maximum;
    prlimit(pid, Resource::Nofile, Rlimit { current: Some(files), maximum }).expect("ours");
}

/// As many as it had at its start.
fn restore_files(id: u32) {
    limit_files(id, getrlimit(Resource::Nofile).maximum.unwrap_or(1 << 16));
}

/// Ticks of the processor that it has used (proc(5), `stat`, fields 14 and 15), a hundred a second on Linux.
fn ticks(id: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).expect("it runs");
    let (_, rest) = stat.rsplit_once(')').expect("its name");
    let fields: Vec<&str> = rest.split_whitespace().collect();
    [11, 12].iter().map(|at| fields[*at].parse::<u64>().expect("a number")).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_without_a_single_descriptor_left_refuses_what_needs_one_and_forgets_nothing() {
    let upstream = Plain::start().await;
    let mut setup = Setup::new(&stand_in("api.example.com", upstream.address));
    setup.publish("echo").await.ok();
    setup.pin("acme", ECHO, "1.0.0").await;
    setup.publish("fetch").await.ok();
    setup.pin("acme", FETCH, "1.0.0").await;
    let slot = path("acme", FETCH, "/connections/token");
    setup.http.put(&slot, json!({"token": "some-token"})).await.ok();
    let mut caller = setup.host.http();
    assert_eq!(caller.get("/healthz").await.status, StatusCode::OK);
    let id = setup.host.id();
    limit_files(id, next_file(id));

    // Nobody new is let in, and waiting for that takes no processor.
    let mut new = connect(setup.host.address).await;
    let used = ticks(id);
    new.write_all(b"GET /healthz HTTP/1.1\r\nhost: keyway\r\n\r\n")
        .await
        .expect("the system takes it");
    let mut byte = [0];
    let answered = tokio::time::timeout(Duration::from_secs(2), new.read_exact(&mut byte)).await;
    assert!(answered.is_err(), "there is no descriptor for it");
    assert!(ticks(id) - used < 100, "half of two seconds on one processor");

    // A component needs a file, and says so; a change needs none.
    let refused = setup.publish("echo-next").await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE, "{}", refused.json());
    assert!(["store-unavailable", "overloaded"].contains(&refused.code().as_str()));
    setup.http.put(&slot, json!({"token": "another-token"})).await.ok();
    let reply = setup.act("acme", ECHO, "version", json!(null)).await.ok();
    assert_eq!(reply.json(), "1.0.0");
    assert_eq!(setup.http.get("/readyz").await.status, StatusCode::OK);
    assert!((setup.metric("keyway_store_healthy", &[]).await - 1.0).abs() < f64::EPSILON);

    // A provider needs one too, and is waited for.
    let calling = tokio::spawn(async move {
        caller.post(&path("acme", FETCH, "/actions/get"), json!({"path": "/x"})).await
    });
    let early = tokio::time::sleep(Duration::from_millis(300));
    early.await;
    assert!(upstream.seen().is_empty() && !calling.is_finished());

    restore_files(id);
    calling.await.expect("no panic").ok();
    assert_eq!(upstream.seen().len(), 1);
    tokio::time::timeout(PATIENCE, new.read_exact(&mut byte))
        .await
        .expect("let in")
        .expect("answered");
    setup.publish("echo-next").await.ok();
    let warned = setup.log().matches("connections not accepted for the moment").count();
    assert_eq!(warned, 1, "said once: {}", setup.log());
    let mut setup = setup.crash();
    let kept = setup.http.get(&path("acme", FETCH, "/connections")).await.ok().json();
    assert_eq!(kept["connections"][0]["generation"], 2, "the change is durable: {kept}");
}
