//! An authorization server that goes away in the middle of its yes: what it had issued by then is revoked.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use fixtures::Guest;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::answers::COMPLETE;
use super::{CLIENT, CLIENT_SECRET, OAUTH};
use crate::setup::{Setup, path, stand_in};

/// Answers the token endpoint with these bytes and an end, and takes note of what is revoked.
struct Breaking {
    address: SocketAddr,
    revoked: Arc<Mutex<Vec<String>>>,
}

// === impl Breaking ===

impl Breaking {
    async fn start(answer: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let revoked = Arc::<Mutex<Vec<String>>>::default();
        let noted = Arc::clone(&revoked);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (head, body) = request(&mut stream).await;
                let answer = if head.starts_with("POST /token/revocation ") {
                    noted.lock().expect("not poisoned").extend(token(&body));
                    "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
                } else {
                    &answer
                };
                // The other end may be gone.
                drop(stream.write_all(answer.as_bytes()).await);
                drop(stream.shutdown().await);
            }
        });
        Self { address, revoked }
    }
}

/// Head and body of a request with a length.
async fn request(stream: &mut TcpStream) -> (String, String) {
    let mut text = String::new();
    loop {
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let lower = head.to_ascii_lowercase();
            let length = lower.lines().find_map(|line| line.strip_prefix("content-length: "));
            let length: usize = length.map_or(0, |length| length.parse().expect("a number"));
            if body.len() >= length {
                return (head.to_owned(), body.to_owned());
            }
        }
        let mut piece = [0; 4_096];
        match stream.read(&mut piece).await {
            Ok(0) | Err(_) => return (text, String::new()),
            Ok(read) => text.push_str(&String::from_utf8_lossy(&piece[..read])),
        }
    }
}

fn token(form: &str) -> Option<String> {
    let mut pairs = form.split('&').filter_map(|pair| pair.split_once('='));
    pairs.find(|(name, _)| *name == "token").map(|(_, token)| token.to_owned())
}

/// Catches tokens that live on at the provider and that nobody here knows of.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_issued_before_the_connection_broke_is_revoked() {
    let begun = r#"{"access_token":"access-1","refresh_token":"refresh-1","expires_in":36"#;
    let alone = r#"{"access_token":"access-2","token_type":"Bear"#;
    let form = "access_token=access-3&token_type=be";
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";
    for (answer, revoked) in [
        (format!("{head}content-length: 500\r\n\r\n{begun}"), "refresh-1"),
        (format!("{head}content-length: 500\r\n\r\n{alone}"), "access-2"),
        (
            format!("{head}transfer-encoding: chunked\r\n\r\n{:x}\r\n{form}\r\n", form.len()),
            "access-3",
        ),
    ] {
        let server = Breaking::start(answer.clone()).await;
        let mut setup = Setup::new(&stand_in("auth.example.test", server.address));
        setup.http.publish(Guest::named("oauth").load().expect("built")).await.ok();
        setup.pin("acme", OAUTH, "1.0.0").await;
        let client = format!("/v1/environments/dev/connectors/{OAUTH}/clients/token");
        let body = json!({"client_id": CLIENT, "client_secret": CLIENT_SECRET});
        setup.http.put(&client, body).await.ok();
        let session = json!({"headless": true, "redirect_uri": "https://shop.example/back"});
        let sessions = path("acme", OAUTH, "/connect-sessions");
        let begun: Value = setup.http.post(&sessions, session).await.ok().json();
        let back = json!({
            "state": begun["state"], "code": "abc", "binding": begun["binding"],
            "iss": "https://auth.example.test",
        });
        let refused = setup.http.post(COMPLETE, back).await;
        assert_eq!(refused.code(), "token-endpoint-failed", "{answer}");
        assert_eq!(*server.revoked.lock().expect("not poisoned"), [revoked], "{answer}");
        let list = setup.http.get(&path("acme", OAUTH, "/connections")).await.ok().json();
        assert_eq!(list["connections"], json!([]), "{answer}");
    }
}
