//! C65 seen from a publication: a component that the disk has no room for is refused with a clear code, leaves
//! nothing behind, not even its version, and is published once there is room.
//!
//! The shell's limit on the size of a file stands in for the full disk, so the refusal is the kernel's. It lasts
//! as long as its process, so this binary runs itself below it.

#![expect(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use keyway_artifacts::Artifacts;
use keyway_artifacts::publish::By;
use keyway_core::ports::{Admission, Admitted, EgressPolicy};
use keyway_core::{Code, Descriptor, Digest, Fault};
use keyway_store::conformance::HandClock;
use keyway_store::{Options, Store};

/// Names the directory of the store, and makes this process the one without room.
const CRAMPED: &str = "KEYWAY_ARTIFACTS_CRAMPED";

/// Half-kilobytes that a file may have: enough for the rows, not for [`LARGE`].
const BLOCKS: u32 = 2_400;
const LARGE: usize = 4 << 20;
const SMALL: usize = 1 << 10;

/// Admits anything, as the version that its first byte says.
struct Doorman;

#[async_trait]
impl Admission for Doorman {
    async fn admit(&self, component: Bytes) -> Result<Admitted, Fault> {
        let (name, patch) = ("acme/crm", component[0]);
        let text = format!(r#"{{"format":1,"name":"{name}","version":"1.0.{patch}"}}"#);
        Ok(Admitted {
            digest: Digest::of(&component),
            descriptor: Descriptor::parse(&text).unwrap(),
            exports: Vec::new(),
            contract: "1.0.0".parse().unwrap(),
        })
    }
}

impl EgressPolicy for Doorman {
    fn check_descriptor(&self, _descriptor: &Descriptor) -> Result<(), Fault> {
        Ok(())
    }

    fn check_base_url(&self, _descriptor: &Descriptor, _base_url: &str) -> Result<(), Fault> {
        Ok(())
    }
}

async fn open(dir: &Path) -> (Store, Artifacts) {
    let clock = Arc::new(HandClock::default());
    let store = Store::open(dir, Arc::clone(&clock) as _, Options::default()).await.unwrap();
    let artifacts = Artifacts::new(store.clone(), Arc::new(Doorman), Arc::new(Doorman), clock);
    (store, artifacts)
}

fn component(patch: u8, bytes: usize) -> Bytes {
    vec![patch; bytes].into()
}

fn by() -> By {
    By { actor: "author".parse().unwrap(), publisher: None }
}

fn blobs(dir: &Path) -> usize {
    std::fs::read_dir(dir.join("blobs")).unwrap().count()
}

#[tokio::test]
async fn a_component_without_room_leaves_nothing_and_is_published_later() {
    let dir = tempfile::tempdir().unwrap();
    let mut cramped = Command::new("sh");
    // Without the trap, the limit would be a signal and not an error.
    cramped.args(["-c", r#"trap '' XFSZ; ulimit -f "$0"; exec "$@""#, &BLOCKS.to_string()]);
    cramped.arg(std::env::current_exe().unwrap());
    cramped.args(["--exact", "the_cramped_process"]).env(CRAMPED, dir.path());
    let output = cramped.output().unwrap();
    let report = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && report.contains("1 passed"), "{report}");

    let (store, artifacts) = open(dir.path()).await;
    assert_eq!((store.releases(None).await.unwrap().len(), blobs(dir.path())), (1, 1));
    let published = artifacts.publish(component(1, LARGE), by()).await.unwrap();
    assert!(published.fresh);
    let digest = published.release.reference.digest;
    assert_eq!(store.blobs().get(&digest).await.unwrap(), Some(component(1, LARGE)));
    // What was published in want of room is there as well.
    assert!(!artifacts.publish(component(2, SMALL), by()).await.unwrap().fresh);
}

/// Publishes where a large component finds no room. On its own, where every one does.
#[tokio::test]
async fn the_cramped_process() {
    let own = tempfile::tempdir().unwrap();
    let place = std::env::var_os(CRAMPED);
    let dir = place.as_ref().map_or(own.path(), Path::new);
    let (store, artifacts) = open(dir).await;
    let large = component(1, LARGE);
    if place.is_some() {
        // Again is no better and no worse.
        for _ in 0..2 {
            let fault = artifacts.publish(large.clone(), by()).await.unwrap_err();
            assert_eq!(fault.code, Code::StoreUnavailable);
            assert!(fault.chain().contains("File too large"), "{}", fault.chain());
            assert!(!fault.to_string().contains("File too large"), "{fault}");
            assert!(store.release(&Digest::of(&large)).await.unwrap().is_none());
            assert_eq!(blobs(dir), 0, "half a component");
        }
        store.healthy().unwrap();
        // No release has its version.
        assert!(store.releases(None).await.unwrap().is_empty());
    } else {
        artifacts.publish(large, by()).await.unwrap();
    }
    assert!(artifacts.publish(component(2, SMALL), by()).await.unwrap().fresh);
}
