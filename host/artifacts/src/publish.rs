//! Publishing: the one way a release comes to be.
//!
//! Order matters: bytes are admitted, then durable as a blob, then named by a transaction. A crash in
//! between leaves at most a blob that nothing names.

use std::sync::Arc;

use bytes::Bytes;
use keyway_core::ids::Actor;
use keyway_core::ports::{Admission, Admitted, Clock, EgressPolicy};
use keyway_core::release::{Release, ReleaseRef};
use keyway_core::{Code, Descriptor, Digest, Fault};
use keyway_store::Store;
use keyway_store::model::Entry;

use crate::exports;

/// Publishes components and finds releases.
#[derive(Clone)]
pub struct Artifacts {
    store: Store,
    admission: Arc<dyn Admission>,
    policy: Arc<dyn EgressPolicy>,
    clock: Arc<dyn Clock>,
}

/// What became of a publication.
#[derive(Clone, Debug)]
pub struct Published {
    /// The release.
    pub release: Release,
    /// False when these bytes were published before.
    pub fresh: bool,
}

/// Who publishes.
#[derive(Clone, Debug)]
pub struct By {
    /// The name to write down.
    pub actor: Actor,
    /// The one publisher this actor may publish for; none means any.
    pub publisher: Option<String>,
}

impl Artifacts {
    /// Puts the parts together.
    pub fn new(
        store: Store,
        admission: Arc<dyn Admission>,
        policy: Arc<dyn EgressPolicy>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { store, admission, policy, clock }
    }

    /// Makes a release of a component. The same bytes again answer with the same release.
    pub async fn publish(&self, component: Bytes, by: By) -> Result<Published, Fault> {
        let digest = Digest::of(&component);
        if let Some(release) = self.store.release(&digest).await? {
            check_publisher(&release.reference, &by)?;
            // A copy that was lost or damaged is mended by it.
            self.store.blobs().put(component).await?;
            return Ok(Published { release, fresh: false });
        }
        let component_bytes = component.len() as u64;
        let admitted = self.admission.admit(component.clone()).await?;
        let release = self.release_of(admitted, component_bytes, &by)?;
        // Before the bytes are kept: nothing ever removes a blob.
        self.check_version_free(&release.reference).await?;
        self.store.blobs().put(component).await?;
        self.record(release, by).await
    }

    fn release_of(
        &self,
        admitted: Admitted,
        component_bytes: u64,
        by: &By,
    ) -> Result<Release, Fault> {
        let Admitted { digest, descriptor, exports, contract } = admitted;
        let reference =
            ReleaseRef::new(descriptor.name.clone(), descriptor.version.clone(), digest);
        check_publisher(&reference, by)?;
        check(&descriptor, &exports, self.policy.as_ref())?;
        Ok(Release {
            reference,
            descriptor,
            component_bytes,
            exports,
            contract,
            published_by: by.actor.clone(),
            published_at: self.clock.now(),
        })
    }

    async fn record(&self, release: Release, by: By) -> Result<Published, Fault> {
        let reference = release.reference.clone();
        let entry = Entry {
            actor: by.actor,
            action: "release.publish".to_owned(),
            object: reference.to_string(),
            reason: None,
            before: None,
            after: Some(reference.digest.to_string()),
        };
        let tx = self.store.tx().publish(release.clone());
        match tx.commit(entry).await {
            Ok(_) => Ok(Published { release, fresh: true }),
            Err(error) => self.after_conflict(&reference, error.into()).await,
        }
    }

    /// Two publications of the same bytes may race; the second one finds the release of the first.
    async fn after_conflict(
        &self,
        reference: &ReleaseRef,
        fault: Fault,
    ) -> Result<Published, Fault> {
        if let Some(release) = self.store.release(&reference.digest).await? {
            return Ok(Published { release, fresh: false });
        }
        self.check_version_free(reference).await?;
        Err(fault)
    }

    /// Other bytes may have this version already.
    async fn check_version_free(&self, wanted: &ReleaseRef) -> Result<(), Fault> {
        let taken = self.store.release_by_version(&wanted.connector, &wanted.version).await?;
        match taken.map(|release| release.reference.digest) {
            Some(digest) if digest != wanted.digest => Err(Fault::new(
                Code::VersionTaken,
                format!("{wanted} is {digest}; publish new bytes as a new version"),
            )),
            _ => Ok(()),
        }
    }
}

/// Whether an admitted component may be a release, whoever publishes it.
pub fn check(
    descriptor: &Descriptor,
    exports: &[String],
    policy: &dyn EgressPolicy,
) -> Result<(), Fault> {
    exports::check(descriptor, exports)?;
    policy.check_descriptor(descriptor)
}

fn check_publisher(reference: &ReleaseRef, by: &By) -> Result<(), Fault> {
    match &by.publisher {
        Some(own) if own != reference.connector.publisher() => Err(Fault::new(
            Code::PublisherMismatch,
            format!("descriptor names `{}`; this token publishes for `{own}`", reference.connector),
        )),
        _ => Ok(()),
    }
}
