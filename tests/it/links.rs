//! Links to the provider through the proxy; and answers that break off, upgrades, and slots.

use std::net::SocketAddr;

use bytes::Bytes;
use http::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::proxy::{ask, ask_at};
use crate::setup::{Setup, path, stand_in};

const VENDORS: &str = "fixtures/vendors";

/// A provider that answers every request with these bytes and closes the connection.
async fn provider(answer: String) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let answer = answer.clone();
            tokio::spawn(async move {
                let mut request = vec![0; 64 << 10];
                // A request of these tests comes in one piece.
                drop(stream.read(&mut request).await);
                drop(stream.write_all(answer.as_bytes()).await);
                drop(stream.shutdown().await);
            });
        }
    });
    address
}

fn answer(status: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}"
    )
}

async fn with(answer: String) -> Setup {
    let mut setup = Setup::new(&stand_in("api.github.example", provider(answer).await));
    setup.publish("vendors").await.ok();
    setup.pin("acme", VENDORS, "1.0.0").await;
    let connection = json!({"token": "canary", "base_url": "https://api.github.example/v3"});
    setup.http.put(&path("acme", VENDORS, "/connections/token"), connection).await.ok();
    setup
}

fn proxy(rest: &str) -> String {
    path("acme", VENDORS, &format!("/proxy{rest}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn links_lead_back_unless_they_are_wanted_raw() {
    let headers = "content-type: application/json\r\n\
        link: <https://api.github.example/v3/x?page=2>; rel=\"next\", <https://evil.example/x>; rel=\"help\"\r\n\
        location: /v3/made\r\ncontent-location: https://uploads.github.example/x\r\n\
        operation-location: https://api.github.example/v3/jobs/1\r\n";
    let body = r#"{"next_page":"https:\/\/api.github.example\/v3\/x?a=1\u0026b=2","url":"https://api.github.example/v3/x","n":1.50}"#;
    let setup = with(answer("200 OK", headers, body)).await;
    let base = format!("http://keyway.example{}", proxy(""));
    let got = ask(&setup, Method::GET, &proxy("/x"), &[], "").await;
    assert_eq!(
        got.header("link"),
        format!("<{base}/x?page=2>; rel=\"next\", <https://evil.example/x>; rel=\"help\"")
    );
    assert_eq!(got.header("location"), format!("{base}/made"));
    assert_eq!(
        got.header("content-location"),
        format!("{base}/keyway-host=uploads.github.example/x")
    );
    assert_eq!(got.header("operation-location"), format!("{base}/jobs/1"));
    let expected = format!(
        r#"{{"next_page":"{base}/x?a=1&b=2","url":"https://api.github.example/v3/x","n":1.50}}"#
    );
    assert_eq!(got.body, expected);

    let secure = [("x-forwarded-proto", "https")];
    let got = ask(&setup, Method::GET, &proxy("/x"), &secure, "").await;
    assert!(got.header("location").starts_with("https://keyway.example/"));

    let got = ask(&setup, Method::GET, &proxy("/x"), &[("keyway-links", "raw")], "").await;
    assert!(got.header("link").starts_with("<https://api.github.example/v3/x?page=2>"));
    assert_eq!(got.header("location"), "/v3/made");
    assert_eq!(got.body, body);
    let got = ask(&setup, Method::GET, &proxy("/x"), &[("keyway-links", "cooked")], "").await;
    assert_eq!((got.status, got.code().as_str()), (400, "invalid-request"));
}

/// Catches a reply that is no reply: without a head, and without an id to look for in the log.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_breaks_off_is_an_error_with_a_head() {
    for begun in ["", "{\"a\":"] {
        let head =
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 500\r\n\r\n";
        let setup = with(format!("{head}{begun}")).await;
        let got = ask(&setup, Method::GET, &proxy("/x"), &[], "").await;
        assert_eq!((got.status, got.code().as_str()), (502, "transient"), "{begun:?}");
        assert!(got.header("keyway-call").starts_with("call_"));
        let problem: serde_json::Value = serde_json::from_slice(&got.body).expect("JSON");
        assert_eq!(
            (&problem["whose"], &problem["request_sent"]),
            (&json!("upstream"), &json!(true))
        );
    }
    // What is longer than can be waited for breaks off behind its head.
    let long = "x".repeat(100_000);
    let setup = with(format!("HTTP/1.1 200 OK\r\ncontent-length: 200000\r\n\r\n{long}")).await;
    let bearer = format!("Bearer {}", setup.host.token);
    let request =
        format!("GET {} HTTP/1.1\r\nhost: x\r\nauthorization: {bearer}\r\n\r\n", proxy("/x"));
    let got = raw(setup.host.address, &request).await;
    assert!(got.starts_with("HTTP/1.1 200 OK\r\n"), "{:.200}", got);
    assert!(got.contains("keyway-call: call_"), "{:.900}", got);
}

/// Sends text as it stands; what comes back until the end.
#[expect(clippy::disallowed_methods, reason = "the test talks to the host that it started")]
async fn raw(address: SocketAddr, request: &str) -> String {
    let mut stream = tokio::net::TcpStream::connect(address).await.expect("the host listens");
    stream.write_all(request.as_bytes()).await.expect("it reads");
    let mut got = Vec::new();
    drop(stream.read_to_end(&mut got).await);
    String::from_utf8_lossy(&got).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_is_refused_in_words_and_other_upgrades_are_not_heard() {
    let setup = with(answer("200 OK", "", "ok")).await;
    let upgrade = |protocol| [("connection", "Upgrade"), ("upgrade", protocol)];
    let got = ask(&setup, Method::GET, &proxy("/x"), &upgrade("WebSocket"), "").await;
    assert_eq!((got.status, got.code().as_str()), (400, "upgrade-refused"));
    let got = ask(&setup, Method::GET, &proxy("/x"), &upgrade("h2c"), "").await;
    assert_eq!(got.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_slots_the_one_that_is_set_is_used() {
    let mut setup = with(answer("200 OK", "", "ok")).await;
    let get = async |setup: &Setup, headers: &[(&str, &str)]| {
        let got = ask(setup, Method::GET, &proxy("/x"), headers, "").await;
        (got.status, got.code())
    };
    assert_eq!(get(&setup, &[]).await.0, 200);
    let own = path("acme", VENDORS, "/connections/login?user=ann");
    let login =
        json!({"user": "u", "password": "p4ssw0rd", "base_url": "https://api.github.example/v3"});
    setup.http.put(&own, login.clone()).await.ok();
    assert_eq!(get(&setup, &[("keyway-user", "ann")]).await.0, 200, "her only one");
    assert_eq!(
        get(&setup, &[("keyway-user", "bob")]).await,
        (409, "credential-missing".to_owned())
    );
    setup.http.put(&path("acme", VENDORS, "/connections/login"), login).await.ok();
    assert_eq!(get(&setup, &[]).await, (400, "invalid-request".to_owned()));
    assert_eq!(get(&setup, &[("keyway-slot", "login")]).await.0, 200);
    for slot in ["token", "login"] {
        let slot = path("acme", VENDORS, &format!("/connections/{slot}"));
        setup.http.send(Method::DELETE, &slot, "application/json", Bytes::new()).await.ok();
    }
    assert_eq!(get(&setup, &[]).await, (409, "credential-missing".to_owned()));
}

/// A path names the host as the header does, for links that can say nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn a_path_names_a_declared_host_and_no_other() {
    let setup = with(answer("200 OK", "", "ok")).await;
    let bearer = format!("Bearer {}", setup.host.token);
    for (host, status, code) in [
        ("api.github.example", 200, ""),
        ("api.github.example:443", 200, ""),
        ("evil.example", 400, "invalid-request"),
        ("api.github.example@evil.example", 400, "invalid-request"),
        ("", 400, "invalid-request"),
    ] {
        let target = proxy(&format!("/keyway-host={host}/x"));
        let headers = [("host", "x"), ("authorization", &*bearer)];
        let got = ask_at(setup.host.address, Method::GET, &target, &headers, "").await;
        assert_eq!((got.status, got.code().as_str()), (status, code), "{host}");
    }
}
