//! What bodies of requests take of the memory and of the processors, and from whom.

use std::sync::mpsc;

use axum::body::Body;
use axum::http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{Method, Request};
use bytes::Bytes;
use futures_util::StreamExt as _;
use keyway_api::Limits;
use keyway_core::call::{Extra, Output, Page, Record};
use keyway_core::shares::Payer;
use serde_json::{Value, json};

use crate::world::{Reply, World, at, bearer, limited};

const MIB: usize = 1 << 20;

/// Of another tenant.
fn other(path: &str) -> String {
    path.replace("acme", "other")
}

/// JSON of so many bytes, of one value.
fn text(bytes: usize) -> String {
    format!("\"{}\"", "x".repeat(bytes - 2))
}

/// Two bodies of a MiB for a tenant, and eight for all.
fn two_of_eight(limits: &mut Limits) {
    limits.tenant_bodies_bytes_max = 2 * MIB;
    limits.bodies_bytes_max = 8 * MIB;
}

/// A request of which so much comes and then nothing.
fn slow(
    token: &str,
    (method, path): (Method, &str),
    came: usize,
    declared: Option<usize>,
) -> Request<Body> {
    let came = futures_util::stream::iter([Ok::<_, std::io::Error>(Bytes::from(text(came)))]);
    let mut request = Request::builder().method(method).uri(path);
    if let Some(bytes) = declared {
        request = request.header(CONTENT_LENGTH, bytes);
    }
    request
        .header(AUTHORIZATION, bearer(token))
        .header(CONTENT_TYPE, "application/json")
        .body(Body::from_stream(came.chain(futures_util::stream::pending())))
        .unwrap()
}

#[track_caller]
fn refused(reply: &Reply, whose: &str) {
    reply.refused(503, "overloaded");
    assert!(reply.json()["detail"].as_str().unwrap().contains(whose), "{reply:?}");
    assert_eq!(reply.json()["retry_after_ms"], 250);
}

/// Whatever a tenant's callers send to, by whichever token, and whether they say how much it will be.
#[tokio::test]
async fn slow_bodies_of_a_tenant_take_its_share_and_nobody_elses() {
    let world = World::pinned_with(limited(two_of_eight)).await;
    let (call, config) = (at("/actions/echo"), at("/config"));
    let ann = world.token("ann", keyway_vault::model::Role::Operator, None).await;
    let declared = slow(&ann, (Method::POST, &call), 2, Some(MIB));
    let undeclared = slow(&world.admin, (Method::PUT, &config), MIB - 1, None);
    let others = async {
        for path in [at("/actions/echo"), at("/objects/widgets/read"), at("/revert")] {
            refused(&world.post_text(&path, &text(MIB)).await, "of the tenant");
        }
        world.post_text(&call, &text(10 << 10)).await.ok();
        let elsewhere = world.post_text(&other(&call), &text(MIB)).await;
        elsewhere.refused(404, "unknown-installation");
    };
    tokio::select! {
        biased;
        reply = world.send(declared) => panic!("its body never ends: {reply:?}"),
        reply = world.send(undeclared) => panic!("its body never ends: {reply:?}"),
        () = others => {}
    }
    world.post_text(&call, &text(2 * MIB)).await.ok();
    world.post_text(&call, &text(2 * MIB)).await.ok();
}

#[tokio::test]
async fn what_is_of_no_tenant_is_the_tokens() {
    let world = World::with(limited(two_of_eight)).await;
    let ann = world.token("ann", keyway_vault::model::Role::Admin, None).await;
    let path = "/v1/tokens";
    let body = || Some(text(MIB));
    let others = async {
        refused(&world.ask("POST", path, &ann, body()).await, "of token `ann`");
        world.ask("POST", path, &world.admin, body()).await.refused(400, "invalid-request");
    };
    tokio::select! {
        biased;
        reply = world.send(slow(&ann, (Method::POST, path), 2, Some(2 * MIB))) => {
            panic!("its body never ends: {reply:?}")
        }
        () = others => {}
    }
    world.ask("POST", path, &ann, body()).await.refused(400, "invalid-request");
}

/// A body is held until its request is answered, and what is made of its values counts.
#[tokio::test]
async fn a_call_under_way_holds_its_body() {
    let world = World::pinned_with(limited(two_of_eight)).await;
    let gate = world.dispatch.gate.acquire_many(1_000).await.unwrap();
    let call = at("/actions/echo");
    let long = text(3 * MIB / 2);
    let others = async {
        world.dispatched(1).await;
        refused(&world.post_text(&call, &long).await, "of the tenant");
        drop(gate);
    };
    let (reply, ()) = tokio::join!(world.post_text(&call, &long), others);
    reply.ok();
    world.post_text(&call, &long).await.ok();

    let items = |count: usize| {
        let item = json!({"reference": "1", "data": 1});
        json!({"operation": "create", "items": vec![item; count]})
    };
    let write = at("/objects/widgets/write");
    world.post(&write, items(1_000)).await.ok();
    refused(&world.post(&write, items(5_000)).await, "of the tenant");
}

/// Keeps the lane of `acme` busy until the sender says so.
async fn busy(world: &World, ended: mpsc::Receiver<()>) {
    let acme = Payer::Tenant("dev".parse().unwrap(), "acme".parse().unwrap());
    let work = move || {
        ended.recv().unwrap();
        Ok(())
    };
    world.lanes.once(&acme, work).await.unwrap();
}

#[tokio::test]
async fn long_bodies_and_pages_are_read_and_written_in_the_lane_of_their_tenant() {
    let world = World::pinned().await;
    let body = json!({"release": "1.0.0", "reason": "x"});
    world.put(&other(&at("/pin")), body).await.ok();
    let (call, read) = (at("/actions/echo"), at("/objects/widgets/read"));
    let (end, ended) = mpsc::channel();
    let long = text(MIB);
    let others = async {
        world.post_text(&other(&call), &long).await.ok();
        world.post_text(&call, "1").await.ok();
        world.dispatch.script.lock().unwrap().push_back(Ok(page(MIB)));
        tokio::select! {
            biased;
            reply = world.post(&read, json!({})) => panic!("before what is in its lane: {reply:?}"),
            // Its call has ended, and its page is not written.
            () = world.dispatched(3) => {}
        }
        world.dispatch.script.lock().unwrap().push_back(Ok(page(MIB)));
        world.post(&other(&read), json!({})).await.ok();
    };
    let mut own = Box::pin(world.post_text(&call, &long));
    let mut busy = Box::pin(busy(&world, ended));
    tokio::select! {
        biased;
        () = &mut busy => panic!("nobody told it to end"),
        reply = &mut own => panic!("before what is in its lane: {reply:?}"),
        () = others => {}
    }
    end.send(()).unwrap();
    busy.await;
    assert_eq!(own.await.ok(), Value::String("x".repeat(MIB - 2)));
}

/// With one record of so many bytes.
fn page(bytes: usize) -> Output {
    let record = Record {
        id: "1".into(),
        updated_at: None,
        deleted: false,
        data: text(bytes),
        extra: Extra::new(),
    };
    Output::Page(Page { records: vec![record], next: None, extra: Extra::new() })
}

#[tokio::test]
async fn whose_body_waits_for_its_own_longer_than_it_has_time_is_told_so() {
    let world = World::pinned().await;
    let (end, ended) = mpsc::channel();
    let request = Request::post(at("/actions/echo"))
        .header(AUTHORIZATION, bearer(&world.admin))
        .header(CONTENT_TYPE, "application/json")
        .header("keyway-timeout-ms", "20")
        .body(Body::from(text(MIB)))
        .unwrap();
    let mut busy = Box::pin(busy(&world, ended));
    let reply = tokio::select! {
        biased;
        () = &mut busy => panic!("nobody told it to end"),
        reply = world.send(request) => reply,
    };
    reply.refused(504, "deadline-exceeded");
    assert_eq!(reply.json()["whose"], "tenant");
    end.send(()).unwrap();
    busy.await;
}
