//! Which configurations fit a release: asked of many, each judged once.
//!
//! To compile a schema and to hold a configuration against it takes up to a tenth of a second, and a change of what runs may
//! have to look through the whole history, for many tenants. So a change judges all that it will need before it makes others
//! wait, and again afterwards: what has not changed in between is known by then.

use std::collections::HashMap;
use std::sync::Arc;

use keyway_artifacts::schema::ConfigSchema;
use keyway_core::release::Release;
use keyway_core::{Descriptor, Digest, Fault};

/// A release, and what it said of the configurations that it was asked about.
pub(super) struct Fitting {
    /// None: nothing is to run, so everything fits.
    release: Option<(Digest, Arc<Descriptor>)>,
    /// Compiled when first asked: most installations have no configuration.
    schema: Option<ConfigSchema>,
    judged: HashMap<Digest, Result<(), Fault>>,
}

impl Fitting {
    /// Nothing was asked yet.
    pub(super) fn new(release: Option<&Release>) -> Self {
        let of =
            |release: &Release| (release.reference.digest, Arc::new(release.descriptor.clone()));
        Self { release: release.map(of), schema: None, judged: HashMap::new() }
    }

    /// Whether it is about this release; none: about nothing.
    pub(super) fn is_of(&self, release: Option<&Release>) -> bool {
        self.release.as_ref().map(|(digest, _)| digest)
            == release.map(|release| &release.reference.digest)
    }

    /// What is known of a configuration with this digest.
    pub(super) fn known(&self, digest: &Digest) -> Option<&Result<(), Fault>> {
        self.judged.get(digest)
    }

    /// Whether it fits, or why not.
    pub(super) async fn judge(&mut self, json: &str) -> Result<(), Fault> {
        let Some((_, descriptor)) = &self.release else { return Ok(()) };
        let digest = Digest::of(json.as_bytes());
        if let Some(known) = self.judged.get(&digest) {
            return known.clone();
        }
        let schema = match &self.schema {
            Some(schema) => schema.clone(),
            None => ConfigSchema::compile(descriptor).await?,
        };
        let verdict = schema.check(json).await;
        self.schema = Some(schema);
        self.judged.insert(digest, verdict.clone());
        verdict
    }
}
