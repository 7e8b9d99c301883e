//! Tokens of this host in the bodies of callers: refused on the way, before their last byte leaves.

use std::sync::Arc;

use bytes::Bytes;
use keyway_core::exchange::Relayed;
use keyway_core::ports::IssuedTokens;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;
use tokio::time::timeout;

use crate::relay::{PATIENCE, World, get, pieces, post, read, whole};
use crate::support::{Upstream, ok};

const TOKEN: &str = "kw_AbCdEfGhIjKlMnOpQrStUvWxYz0123456789-_AbCdE";

#[derive(Debug)]
struct One;

impl IssuedTokens for One {
    fn has(&self, text: &[u8]) -> bool {
        text == TOKEN.as_bytes()
    }
}

fn looked_through(request: Relayed) -> Relayed {
    Relayed { tokens: Some(Arc::new(One)), ..request }
}

/// Catches a token that is cut by the borders of pieces, and whatever of it has left by then.
#[tokio::test]
async fn a_body_with_a_token_is_refused_before_the_token_has_left() {
    for (before, rest) in [(TOKEN, ""), (&TOKEN[..40], &TOKEN[40..]), (&TOKEN[..1], &TOKEN[1..])] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let world = World::at(&listener, "").await;
        let (sender, body) = pieces();
        let sending = async move {
            for piece in [&format!("first=piece&key={before}"), rest, "&more=x"] {
                let piece = Bytes::copy_from_slice(piece.as_bytes());
                // Nobody takes the last one.
                drop(sender.send(piece).await);
            }
        };
        let provider = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut seen = Vec::new();
            // However it ends.
            drop(timeout(PATIENCE, stream.read_to_end(&mut seen)).await.unwrap());
            String::from_utf8(seen).unwrap()
        };
        let relayed = world.relay(looked_through(post(body)));
        let (result, seen, ()) = tokio::join!(relayed, provider, sending);
        let failure = result.unwrap_err();
        assert_eq!(failure.code.as_deref(), Some("token-in-body"));
        assert!(!seen.contains("kw_"), "{seen}");
        assert_eq!(world.ends(1).await, [Some("token-in-body")]);
    }
}

#[tokio::test]
async fn a_signed_body_with_a_token_is_not_sent_at_all() {
    let upstream = Upstream::start(|_, _| ok("")).await;
    let world = World::of(&upstream, "");
    let slot = Some("signed".parse().unwrap());
    let request = Relayed { slot, ..post(whole(format!("{{\"key\":\"{TOKEN}\"}}"))) };
    let failure = world.relay(looked_through(request)).await.unwrap_err();
    assert_eq!((failure.code.as_deref(), failure.request_sent), (Some("token-in-body"), false));
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn other_bodies_arrive_as_they_are() {
    let upstream = Upstream::start(|_, _| ok("taken")).await;
    let world = World::of(&upstream, "");
    let text = format!("kw_{}&{}", TOKEN.to_lowercase(), &TOKEN[..45]);
    let relay = world.relay(looked_through(post(whole(text.clone())))).await.unwrap();
    assert_eq!(read(relay).await.unwrap(), "taken");
    let seen = upstream.requests().remove(0);
    assert!(
        seen.ends_with(&text) && seen.contains(&format!("content-length: {}", text.len())),
        "{seen}"
    );
    world.relay(looked_through(get("/"))).await.unwrap();
}
