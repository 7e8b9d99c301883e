//! An answer that goes on, as whoever follows a log reads it.

use axum::body::{Body, BodyDataStream};
use axum::http::Request;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use futures_util::StreamExt as _;
use serde_json::{Value, json};

use crate::world::{PATIENCE, World, bearer};

/// An answer without an end, read line by line.
pub(crate) struct Stream {
    data: BodyDataStream,
    rest: Vec<u8>,
}

impl Stream {
    pub(crate) async fn open(world: &World, path: &str, token: &str) -> Self {
        let request = Request::get(path).header(AUTHORIZATION, bearer(token));
        let request = request.body(Body::empty()).unwrap();
        let response = world.api.router().answer(request).await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()[CONTENT_TYPE], "application/x-ndjson");
        let mut stream = Self { data: response.into_body().into_data_stream(), rest: Vec::new() };
        assert_eq!(stream.line().await, Some(json!({})), "the first line says that it has begun");
        stream
    }

    /// The next line; none at the end.
    pub(crate) async fn line(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).unwrap());
            }
            let more = tokio::time::timeout(PATIENCE, self.data.next()).await.expect("in time");
            self.rest.extend(more?.unwrap());
        }
    }

    /// The next line that says something.
    pub(crate) async fn heard(&mut self) -> Option<Value> {
        loop {
            let line = self.line().await?;
            if line != json!({}) {
                return Some(line);
            }
        }
    }
}
