//! Requests that the host signs. The provider makes each signature anew with openssl, from what came over the wire.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use serde_json::json;

use super::provider::{Answer, Asked, Provider};
use super::{STATED, World, hex, openssl};
use crate::cli::Cli;
use crate::setup::path;

const ID: &str = "AKIDEXAMPLE";
const KEY: &str = "canary-key-that-signs-8f31";
const SESSION: &str = "canary-session-token/with+letters==";

fn mac(hash: &str, key: &[u8], text: &[u8]) -> Vec<u8> {
    let (hash, key) = (format!("-{hash}"), format!("hexkey:{}", hex(key)));
    openssl(&["dgst", &hash, "-binary", "-mac", "HMAC", "-macopt", &key], text)
}

fn sha256(text: &[u8]) -> String {
    hex(&openssl(&["dgst", "-sha256", "-binary"], text))
}

fn judged(right: bool) -> Answer {
    match right {
        true => Answer::json(&json!({})),
        false => Answer::refused(403, &json!({"error": "the signature does not match"})),
    }
}

/// As AWS's guide has it: the request as it came, with the path encoded once more unless it is S3.
fn signed_for_aws(asked: &Asked, once: bool) -> bool {
    let given = asked.header("authorization");
    let part = |name: &str| {
        let rest = given.split_once(name).map_or("", |(_, rest)| rest);
        rest.split(',').next().unwrap_or_default().to_owned()
    };
    let (names, signature, credential) =
        (part("SignedHeaders="), part("Signature="), part("Credential="));
    let lines: String =
        names.split(';').map(|name| format!("{name}:{}\n", asked.header(name))).collect();
    let path = if once { asked.path.clone() } else { asked.path.replace('%', "%25") };
    let mut query: Vec<_> = asked.query.split('&').filter(|pair| !pair.is_empty()).collect();
    query.sort_unstable();
    let payload = sha256(&asked.body);
    let (method, query) = (&asked.method, query.join("&"));
    let canonical = format!("{method}\n{path}\n{query}\n{lines}\n{names}\n{payload}");
    let scope = credential.split_once('/').map_or("", |(_, scope)| scope);
    let text = format!(
        "AWS4-HMAC-SHA256\n{}\n{scope}\n{}",
        asked.header("x-amz-date"),
        sha256(canonical.as_bytes())
    );
    let start = format!("AWS4{KEY}").into_bytes();
    let key = scope.split('/').fold(start, |key, part| mac("sha256", &key, part.as_bytes()));
    names.split(';').any(|name| name == "host")
        && credential.starts_with(&format!("{ID}/"))
        && scope.ends_with("/eu-west-1/s3/aws4_request")
        && signature == hex(&mac("sha256", &key, text.as_bytes()))
}

/// A storage in the manner of S3. Fails if a slash within a key's name does not stay what it is, if the session's token is
/// not signed, or if either stands anywhere but on the request.
#[tokio::test(flavor = "multi_thread")]
async fn a_storage_takes_what_is_signed_for_it() {
    let in_session = Arc::new(AtomicBool::new(false));
    let judging = Arc::clone(&in_session);
    let provider = Provider::start(move |asked| {
        let token = if judging.load(Ordering::SeqCst) { SESSION } else { "" };
        let of_session = asked.header("x-amz-security-token") == token
            && (token.is_empty() || asked.header("authorization").contains("x-amz-security-token"));
        judged(
            of_session
                && signed_for_aws(asked, true)
                && asked.header("x-amz-content-sha256") == sha256(&asked.body),
        )
    })
    .await;
    let stated = json!({
        "hosts": ["s3.eu-west-1.cloud.example.com"], "base-url": "https://s3.eu-west-1.cloud.example.com",
        "slots": {"store": {"probe": {"path": "/?list-type=2"}, "scheme": {"kind": "aws-sigv4", "service": "s3",
            "region-label": 1, "content-sha256-header": true, "path-as-sent": true}}},
    });
    let mut world = World::new(&["s3.eu-west-1.cloud.example.com"], stated, provider).await;
    let plain = json!({"user": ID, "password": KEY});
    world.set("store", json!({"user": ID, "password": "canary-another"})).await;
    assert!(world.connection("store").await.is_null(), "what cannot sign is not set");
    world.set("store", plain).await.ok();
    let target = "/bucket/2026%2F03/a%20b%2Bc.txt?prefix=x%2Fy&list-type=2";
    assert_eq!(world.call("store", target).await, 200);
    let put = json!({"slot": "store", "path": "/bucket/a%281%29.txt", "method": "PUT", "body": "hello",
        "headers": [["x-amz-storage-class", "STANDARD"], ["content-type", "text/plain"]]});
    let reply = world.setup.act("acme", STATED, "send", put).await.ok().json();
    assert_eq!(reply["status"], 200, "{reply}");
    // Through the proxy: a client's own path, and a body in pieces.
    let proxied = path("acme", STATED, "/proxy/bucket/dir%2Ffile");
    let http = &mut world.setup.http;
    http.send(Method::PUT, &proxied, "text/plain", "proxied".into()).await.ok();
    let last = world.provider.asked().pop().expect("a request");
    assert_eq!((last.path.as_str(), &last.body[..]), ("/bucket/dir%2Ffile", &b"proxied"[..]));

    in_session.store(true, Ordering::SeqCst);
    assert_eq!(world.call("store", target).await, 403, "the token is missing");
    {
        let cli = Cli::new(&world.setup);
        let (key, token) = (cli.file("key.txt", KEY), cli.file("session.txt", SESSION));
        let set = ["connection", "set", "acme", STATED, "--slot", "store", "--user", ID];
        let files = ["--secret-file", &key, "--session-token-file", &token];
        let said = cli.ok(&[&set[..], &files].concat());
        assert_eq!(said, "slot store of acme is set (aws-sigv4), generation 2\n");
    }
    assert_eq!(world.call("store", target).await, 200);
    let rows = world.setup.http.get("/v1/environments/dev/exchanges?limit=100").await.ok();
    let rows = String::from_utf8_lossy(&rows.body).into_owned();
    assert!(rows.contains("/bucket/") && !rows.contains("canary"), "{rows}");
    world.hides(&["canary"]).await;
}

/// An exchange in the manner of those that sign time, method, path and body; its keys are base64, and it knows SHA-1 only.
#[tokio::test(flavor = "multi_thread")]
async fn a_provider_takes_an_hmac_over_declared_parts() {
    let key: [u8; 24] = *b"\x00\x01canary-bytes-of-a-key\xff";
    let provider = Provider::start(move |asked| {
        let time = asked.header("x-time");
        let mut text = format!("v1|{time}|{}|{}?{}|", asked.method, asked.path, asked.query);
        if asked.query.is_empty() {
            text = format!("v1|{time}|{}|{}|", asked.method, asked.path);
        }
        let nonce = asked.header("x-nonce");
        let kind = asked.header("content-type");
        let body = String::from_utf8_lossy(&asked.body);
        let text = format!("{text}{kind}|{nonce}|{body}");
        let expected = format!("SIG {ID}:{}", STANDARD.encode(mac("sha1", &key, text.as_bytes())));
        judged(nonce.len() == 32 && asked.header("authorization") == expected)
    })
    .await;
    let stated = json!({
        "hosts": ["trade.example.com"], "base-url": "https://trade.example.com",
        "slots": {"trade": {"scheme": {
            "kind": "hmac", "algorithm": "sha1", "key-encoding": "base64", "encoding": "base64", "separator": "|",
            "parts": [{"text": "v1"}, "timestamp", "method", "path-and-query", {"header": "content-type"}, "nonce", "body"],
            "header": "Authorization", "value": "SIG {key-id}:{signature}",
            "timestamp": {"header": "X-Time", "format": "unix-ms"}, "nonce-header": "X-Nonce",
        }}},
    });
    let mut world = World::new(&["trade.example.com"], stated, provider).await;
    let encoded = STANDARD.encode(key);
    let refused = world.set("trade", json!({"user": ID, "password": "not base64!"})).await;
    assert_eq!(refused.code(), "credential-invalid", "{}", refused.json());
    world.set("trade", json!({"user": ID, "password": encoded})).await.ok();
    assert_eq!(world.call("trade", "/orders?side=buy&limit=%35").await, 200);
    let order = json!({"slot": "trade", "path": "/orders", "method": "POST", "body": "{\"price\":1}",
        "headers": [["content-type", "application/json"]]});
    let reply = world.setup.act("acme", STATED, "send", order).await.ok().json();
    assert_eq!(reply["status"], 200, "{reply}");
    let proxied = path("acme", STATED, "/proxy/orders");
    let http = &mut world.setup.http;
    http.send(Method::POST, &proxied, "text/plain", "as it comes".into()).await.ok();
    world.hides(&[&encoded]).await;
}
