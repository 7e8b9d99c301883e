//! What the log says of requests, and what it does not.

use std::io;
use std::sync::{Arc, Mutex, Once};

use keyway_core::{Code, Fault};
use serde_json::{Value, json};
use tracing::subscriber::DefaultGuard;

use crate::world::{World, at};

/// Lines of the log, as JSON.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Lines {
    /// Takes this thread's log for as long as the guard lives.
    fn take() -> (Self, DefaultGuard) {
        // What other tests log is not looked at. But while nobody listens on any thread, tracing may remember of
        // an event that nobody wants it, and then it is not offered to us either.
        static LISTENER: Once = Once::new();
        LISTENER.call_once(|| {
            let listener = tracing_subscriber::fmt()
                .with_max_level(tracing::Level::TRACE)
                .with_writer(io::sink)
                .finish();
            tracing::subscriber::set_global_default(listener).unwrap();
        });
        let lines = Self::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .json()
            .with_max_level(tracing::Level::DEBUG)
            .with_writer(move || writer.clone())
            .finish();
        (lines, tracing::subscriber::set_default(subscriber))
    }

    fn of(&self, message: &str) -> Vec<Value> {
        let bytes = self.0.lock().unwrap().clone();
        let lines = std::str::from_utf8(&bytes).unwrap().lines();
        let lines = lines.map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.filter(|line| line["fields"]["message"] == message).collect()
    }
}

#[tokio::test]
async fn each_request_is_one_line_without_names_or_secrets() {
    let world = World::pinned().await;
    let (lines, _guard) = Lines::take();
    world.put(&at("/connections/token"), json!({"token": "canary-secret"})).await.ok();
    world.post(&at("/actions/echo"), json!("canary-input")).await.ok();
    world.ask("GET", &at("/pin"), "canary-token", None).await.refused(401, "token-invalid");
    let requests = lines.of("request");
    let [_, call, refused] = requests.as_slice() else { panic!("{requests:?}") };
    let fields = &call["fields"];
    assert_eq!(call["level"], "DEBUG", "a call that went well is one of thousands");
    assert_eq!(refused["level"], "INFO");
    assert_eq!((&fields["method"], &fields["status"]), (&json!("POST"), &json!(200)));
    assert!(fields["path"].as_str().unwrap().ends_with("{name}/actions/{action}"), "{fields}");
    assert_eq!(fields["actor"], "root");
    assert_eq!(fields["call"], "call_00000000000000000000000000000007");
    assert_eq!(refused["fields"]["code"], "token-invalid");
    let log = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    for word in ["acme", "canary", &world.admin] {
        assert!(!log.contains(word), "{word}: {log}");
    }
}

#[tokio::test]
async fn a_defect_of_the_host_is_logged_once_with_its_causes_under_the_id_given() {
    let world = World::pinned().await;
    let (lines, _guard) = Lines::take();
    let cause = io::Error::other("the disk is gone");
    let fault = Fault::new(Code::Internal, "not kept").caused_by(cause);
    world.dispatch.script.lock().unwrap().push_back(Err(fault));
    let reply = world.post(&at("/actions/echo"), json!({})).await;
    let errors = lines.of("request failed in the host");
    assert_eq!(errors.len(), 1);
    assert_eq!(errors[0]["level"], "ERROR");
    assert_eq!(errors[0]["fields"]["id"], reply.json()["instance"]);
    assert_eq!(errors[0]["fields"]["error"], "internal: not kept: the disk is gone");
}

#[tokio::test]
async fn a_caller_who_hangs_up_is_logged_as_such() {
    let world = Arc::new(World::pinned().await);
    let (lines, _guard) = Lines::take();
    world.dispatch.gate.forget_permits(1_000);
    let path = at("/actions/echo");
    tokio::select! {
        biased;
        reply = world.post(&path, json!(1)) => panic!("nothing lets it end: {reply:?}"),
        () = world.dispatched(1) => {}
    }
    let requests = lines.of("request");
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0]["fields"]["hung_up"], true);
}
