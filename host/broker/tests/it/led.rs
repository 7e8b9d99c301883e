//! Links in bodies as providers send them: under other labels, and compressed although that was not asked for.

use std::sync::Arc;

use async_compression::tokio::bufread::{BrotliEncoder, GzipEncoder};
use bytes::Bytes;
use keyway_core::Descriptor;
use keyway_core::exchange::{Relay, Relayed};
use tokio::io::{AsyncRead, AsyncReadExt as _};

use crate::relay::{World, get, read};
use crate::support::{SECRET, Step, Upstream, text};

const HERE: &str = "http://h.localhost";

async fn coded(mut from: impl AsyncRead + Unpin) -> Bytes {
    let mut bytes = Vec::new();
    from.read_to_end(&mut bytes).await.unwrap();
    bytes.into()
}

/// What comes of an answer with these lines and this body.
async fn led(lines: &str, body: Bytes) -> (Upstream, World, Relay) {
    led_of("200 OK", lines, body).await
}

/// The same of another status.
async fn led_of(status: &str, lines: &str, body: Bytes) -> (Upstream, World, Relay) {
    let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n{lines}\r\n", body.len());
    let upstream =
        Upstream::start(move |_, _| vec![text(&head), Step::Send(body.clone()), Step::Close]).await;
    let mut world = World::of(&upstream, "");
    let descriptor = r#"{"format":1,"name":"acme/crm","version":"1.0.0","hosts":["api.example.com"],
        "base-url":"https://api.example.com","link-members":["next"],"link-headers":["X-Upload-To"],"slots":{"token":{"scheme":{"kind":"bearer"}}}}"#;
    world.origin.descriptor = Arc::new(Descriptor::parse(descriptor).unwrap());
    let links = Some(HERE.into());
    let relay = world.relay(Relayed { links, ..get("/x") }).await.unwrap();
    (upstream, world, relay)
}

fn page() -> String {
    format!(r#"{{"next":"https://api.example.com/x?page=2","echo":"{SECRET}","n":1.50}}"#)
}

fn expected() -> String {
    let stars = "*".repeat(SECRET.len());
    page().replace("https://api.example.com", HERE).replace(SECRET, &stars)
}

/// Catches a link that is not seen, and a secret that is not masked, because the provider compresses what it was asked
/// not to.
#[tokio::test]
async fn a_compressed_body_is_decoded_for_its_links() {
    let page = page();
    let (gzip, br) = (
        coded(GzipEncoder::new(page.as_bytes())).await,
        coded(BrotliEncoder::new(page.as_bytes())).await,
    );
    for (coding, body) in [("gzip", gzip), ("br", br), ("gzip", Bytes::from(page.clone()))] {
        let lines = format!(
            "content-type: application/json\r\ncontent-encoding: {coding}\r\netag: \"v1\"\r\ncontent-md5: x\r\n"
        );
        let (_upstream, _world, relay) = led(&lines, body).await;
        for gone in ["content-encoding", "content-length", "content-md5"] {
            assert!(!relay.headers.contains_key(gone), "{gone}");
        }
        assert_eq!(relay.headers["etag"], "W/\"v1\"");
        assert_eq!(relay.headers["keyway-masked"], "body");
        assert_eq!(read(relay).await.unwrap(), expected(), "{coding}");
    }
}

#[tokio::test]
async fn a_body_that_grows_without_bound_breaks_off() {
    let page = format!(r#"{{"a":"{}"}}"#, "x".repeat(8 << 20));
    let body = coded(GzipEncoder::new(page.as_bytes())).await;
    let lines = "content-type: application/json\r\ncontent-encoding: gzip\r\n";
    let (_upstream, world, relay) = led(lines, body).await;
    assert_eq!(read(relay).await.unwrap_err().to_string(), "inflation-too-large");
    assert_eq!(world.ends(1).await, [Some("inflation-too-large")]);
}

#[tokio::test]
async fn json_is_known_by_its_bytes_where_its_label_does_not_say_so() {
    for label in ["content-type: text/plain\r\n", "content-type: text/html\r\n", ""] {
        let (_upstream, _world, relay) = led(label, page().into()).await;
        assert!(!relay.headers.contains_key("content-length"), "{label}");
        assert_eq!(read(relay).await.unwrap(), expected(), "{label}");
        let csv = "id,next\n1,\"https://api.example.com/x\"\n";
        let (_upstream, _world, relay) = led(label, csv.into()).await;
        assert_eq!(relay.headers["content-length"], csv.len().to_string(), "{label}");
        assert_eq!(read(relay).await.unwrap(), csv, "{label}");
    }
    let file = page().replace(SECRET, "");
    let (_upstream, _world, relay) =
        led("content-type: application/octet-stream\r\n", file.clone().into()).await;
    assert_eq!(relay.headers["content-length"], file.len().to_string());
    assert_eq!(read(relay).await.unwrap(), file, "a file is what it was");
}

/// Catches an answer whose only links are in headers that neither `Link` nor `Location` is.
#[tokio::test]
async fn links_in_headers_that_are_declared_or_known_lead_back() {
    let to = "https://api.example.com/x";
    for (name, value) in [
        ("x-upload-to", to.to_owned()),
        ("operation-location", to.to_owned()),
        ("refresh", format!("5; url={to}")),
    ] {
        let lines = format!("content-type: text/csv\r\n{name}: {value}\r\nx-other: {to}\r\n");
        let (_upstream, _world, relay) = led(&lines, Bytes::from_static(b"a,b")).await;
        let led = value.replace("https://api.example.com", HERE);
        assert_eq!(relay.headers[name], led, "{name}");
        assert_eq!(relay.headers["x-other"], to, "{name}");
    }
}

/// Catches a page that comes as a part of its list, and a part of a file that no longer is what it says.
#[tokio::test]
async fn a_page_of_a_list_has_its_links_led_back_and_a_part_of_a_file_has_not() {
    for (range, page_of_a_list) in [
        ("content-range: 0-24/3573458\r\n", true),
        ("content-range: id 1..200\r\n", true),
        ("", true),
        ("content-range: bytes 0-99/1000\r\n", false),
    ] {
        for label in ["content-type: application/json\r\n", ""] {
            let page = page().replace(SECRET, "");
            let lines = format!("{label}{range}");
            let (_upstream, _world, relay) =
                led_of("206 Partial Content", &lines, page.clone().into()).await;
            assert_eq!(relay.headers.contains_key("content-length"), !page_of_a_list, "{lines}");
            let expected = if page_of_a_list { expected() } else { page };
            let expected = expected.replace(&"*".repeat(SECRET.len()), "");
            assert_eq!(read(relay).await.unwrap(), expected, "{lines}");
        }
    }
}
