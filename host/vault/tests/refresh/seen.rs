//! What is seen of refreshes: events in the log, and where connections stand in the metrics.

use std::io;
use std::sync::{Arc, Mutex, Once};
use std::time::Duration;

use async_trait::async_trait;
use keyway_core::Fault;
use keyway_core::ids::Installation;
use keyway_core::ports::Granting;
use keyway_vault::Vault;
use keyway_vault::steps::Step;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::time::sleep;
use tracing::subscriber::DefaultGuard;

use crate::support::Answer;
use crate::world::{World, actor, call, connection, expire, stops_at};

/// Keeps what is logged on this thread, as long as it lives.
pub(crate) struct Log {
    text: Lines,
    _guard: DefaultGuard,
}

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

/// Counts what it is told.
#[derive(Default)]
struct Told(Mutex<Vec<Installation>>);

// === impl Log ===

impl Log {
    pub(crate) fn new() -> Self {
        // While nobody listens on any thread, tracing may remember of an event that nobody wants it.
        static LISTENER: Once = Once::new();
        LISTENER.call_once(|| {
            let listener = tracing_subscriber::fmt().with_writer(io::sink).finish();
            tracing::subscriber::set_global_default(listener).expect("the only one");
        });
        let text = Lines::default();
        let lines = text.clone();
        let subscriber = tracing_subscriber::fmt().with_ansi(false);
        let subscriber = subscriber.with_writer(move || lines.clone()).finish();
        Self { text, _guard: tracing::subscriber::set_default(subscriber) }
    }

    /// How often an event was logged.
    pub(crate) fn count(&self, event: &str) -> usize {
        self.count_with(event, "")
    }

    /// How often an event was logged with this in its line.
    pub(crate) fn count_with(&self, event: &str, field: &str) -> usize {
        let text = self.text.0.lock().expect("not poisoned");
        let event = format!("event=\"{event}\"");
        let text = String::from_utf8_lossy(&text);
        text.lines().filter(|line| line.contains(&event) && line.contains(field)).count()
    }
}

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("not poisoned").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[async_trait]
impl Granting for Told {
    async fn granted_anew(&self, installation: &Installation) -> Result<(), Fault> {
        self.0.lock().expect("not poisoned").push(installation.clone());
        Ok(())
    }
}

/// How many connections the metrics show in a phase.
fn standing(vault: &Vault, phase: &str) -> u32 {
    let mut registry = Registry::default();
    vault.metrics().register(&mut registry);
    let mut text = String::new();
    encode(&mut text, &registry).expect("text takes all");
    let series = format!("keyway_connections{{phase=\"{phase}\"}} ");
    let line = text.lines().find_map(|line| line.strip_prefix(&series)).unwrap_or("0");
    line.parse().expect("a number")
}

/// Would fail if a dead connection were a count of attempts, which a restart forgets and nobody can alert on.
#[tokio::test(start_paused = true)]
async fn a_dead_connection_is_an_event_and_stands_in_the_metrics() {
    let log = Log::new();
    let world = World::new().await;
    world.connect(&connection(Some("bob")), "bob").await;
    assert_eq!((standing(&world.vault, "ready"), standing(&world.vault, "needs-reauth")), (2, 0));
    world.server.revoke();
    expire().await;
    for _ in 0..3 {
        world.call().await.unwrap_err();
    }
    assert_eq!(log.count("connection.needs-reauth"), 1);
    assert_eq!((standing(&world.vault, "ready"), standing(&world.vault, "needs-reauth")), (1, 1));
    // Also after a restart, before anybody has used one.
    let restarted = world.another("host-a");
    restarted.check_all().await.unwrap();
    assert_eq!((standing(&restarted, "ready"), standing(&restarted, "needs-reauth")), (1, 1));
    world.connect(&world.of, "again").await;
    assert_eq!((standing(&world.vault, "ready"), standing(&world.vault, "needs-reauth")), (2, 0));
    world.vault.remove(&world.of, Some(&world.spec), &actor()).await.unwrap();
    assert_eq!((standing(&world.vault, "ready"), standing(&world.vault, "needs-reauth")), (1, 0));
}

/// Found by whoever comes after a crash: an event like any other that is uncertain.
#[tokio::test(start_paused = true)]
async fn what_a_crash_left_uncertain_is_an_event_when_it_is_found() {
    let log = Log::new();
    let world = World::new().await;
    expire().await;
    let dies = world.another_heard("host-a", stops_at(Step::Intended));
    let died = tokio::time::timeout(Duration::from_secs(1), call(&dies, &world.of, &world.spec));
    died.await.expect_err("it stands still");
    for _ in 0..3 {
        world.call().await.unwrap_err();
    }
    assert_eq!(log.count("connection.refresh-uncertain"), 1);
    assert_eq!(standing(&world.vault, "uncertain"), 1);
    world.server.script([Answer::Lost]);
    world.connect(&world.of, "again").await;
    expire().await;
    world.call().await.unwrap_err();
    assert_eq!(log.count("connection.refresh-uncertain"), 2, "and one that was lost");
}

/// Calls see what is granted by a route that somebody has to make anew.
#[tokio::test(start_paused = true)]
async fn scopes_that_a_refresh_changes_are_told_to_whoever_shows_them() {
    let world = World::new().await;
    let told = Arc::new(Told::default());
    world.vault.tell(told.clone());
    let scope = |scope: &str| Answer::Issue(json!({"scope": scope}));
    world.server.script([scope("write read"), scope("read"), scope("read")]);
    for times in [0, 1, 1] {
        expire().await;
        world.call().await.unwrap();
        sleep(Duration::from_secs(1)).await;
        assert_eq!(*told.0.lock().unwrap(), vec![world.of.installation.clone(); times]);
    }
}

/// Would fail if the scopes of an older grant were written over those that a person has consented to since.
#[tokio::test(start_paused = true)]
async fn scopes_of_a_grant_that_is_over_are_not_noted() {
    let world = World::new().await;
    let go_on = Arc::new(Semaphore::new(0));
    let waits = Arc::clone(&go_on);
    let slow = world.another_heard(
        "host-a",
        Arc::new(move |step| {
            let waits = Arc::clone(&waits);
            Box::pin(async move {
                if step == Step::Kept {
                    drop(waits.acquire().await);
                }
            })
        }),
    );
    world.server.script([Answer::Issue(json!({"scope": "read"}))]);
    expire().await;
    let (of, spec) = (world.of.clone(), world.spec.clone());
    let late = tokio::spawn(async move { call(&slow, &of, &spec).await });
    sleep(Duration::from_secs(1)).await;
    world.connect(&world.of, "again").await;
    go_on.add_permits(1);
    drop(late.await.unwrap());
    let granted = world.vault.existing(&world.of).await.unwrap().scopes.unwrap();
    assert_eq!(granted, ["read", "write"]);
}
