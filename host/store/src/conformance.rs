//! What every backend must do, as tests that each backend's test file runs.
//!
//! ```text
//! keyway_store::conformance!(make); // async fn make() -> Subject
//! ```
//!
//! expands to one named test a case. The cases speak the store's verbs only, so they hold for any
//! backend; they move time with [`Subject::advance`], because a lease's deadline is the store's own
//! time and not the test's.

pub mod control;
pub mod data;
pub mod queue;

use std::any::Any;
use std::fmt::Debug;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use keyway_core::ids::{Actor, Installation};
use keyway_core::ports::Clock;
use keyway_core::release::ReleaseRef;
use keyway_core::{Descriptor, Digest, Release};
use semver::Version;
use time::OffsetDateTime;
use time::macros::datetime;

use crate::{By, Config, ConfigGeneration, Entry, Pin, Store};

/// A store under test.
pub struct Subject {
    /// It, empty.
    pub store: Store,
    /// Lets the store's own time pass.
    pub advance: Box<dyn Fn(Duration) + Send + Sync>,
    /// Whatever must live as long as the store, such as its directory.
    pub keep: Box<dyn Any + Send + Sync>,
}

/// A clock that moves when it is told to.
pub struct HandClock(Mutex<OffsetDateTime>);

/// Makes a test of each case, run on what `$make` makes.
#[macro_export]
macro_rules! conformance {
    ($make:expr) => {
        $crate::conformance! { @each $make;
            control::a_release_is_found_by_digest_and_by_version,
            control::releases_are_listed_by_precedence,
            control::a_version_and_a_digest_are_published_once,
            control::pins_count_up_and_are_kept,
            control::an_installation_without_a_pin_keeps_its_history,
            control::of_two_pins_at_once_one_lands,
            control::what_is_refused_leaves_no_trace,
            control::changes_land_together_or_not_at_all,
            control::contradicting_changes_are_refused,
            control::audit_numbers_have_no_gaps,
            control::environment_defaults_count_up,
            control::a_default_that_was_unset_keeps_its_generation,
            control::configurations_of_any_size_come_back,
            control::configurations_have_a_history,
            control::the_history_of_a_configuration_ends_somewhere,
            control::a_tenant_is_erased_and_nobody_else,
            control::connections_rotate_and_go,
            control::users_have_connections_of_their_own,
            control::users_alone_make_an_installation,
            control::users_connections_are_shown_slot_by_slot,
            control::cells_land_with_a_change,
            control::a_sealed_credential_has_a_limit,
            control::an_entry_too_large_is_refused_with_its_change,
            control::tokens_are_unique_and_removable,
            control::installations_are_listed_whole,
            control::changes_say_what_they_touched,
            control::a_change_too_large_to_list_says_so,
            control::watchers_wake_and_look_anyway,
            control::blobs_are_kept_by_digest,
            data::cells_compare_and_swap,
            data::of_two_writers_of_a_cell_one_lands,
            data::any_bytes_are_a_key,
            data::cells_have_limits,
            data::a_batch_lands_whole_or_not_at_all,
            data::a_lease_has_one_owner_and_rising_fences,
            data::a_lease_given_back_is_free_at_once,
            data::a_stale_fence_is_refused,
            data::of_many_who_want_a_lease_one_has_it,
            data::renewals_do_not_disturb_commits,
            queue::messages_come_in_order_and_settle_once,
            queue::a_claim_ends_with_its_visibility,
            queue::given_back_means_later_and_again,
            queue::a_message_claimed_too_often_is_given_up,
            queue::settling_lands_with_its_batch,
            queue::no_message_is_lost_or_settled_twice,
            queue::message_bodies_have_a_limit,
        }
    };
    (@each $make:expr; $($group:ident::$case:ident,)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                $crate::conformance::$group::$case(&$make().await).await;
            }
        )*
    };
}

// === impl HandClock ===

impl Default for HandClock {
    fn default() -> Self {
        Self(Mutex::new(datetime!(2026-03-01 12:00 UTC)))
    }
}

impl HandClock {
    /// Lets time pass.
    pub fn advance(&self, by: Duration) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) += by;
    }
}

impl Clock for HandClock {
    fn now(&self) -> OffsetDateTime {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A name that is valid.
pub fn name<T: FromStr<Err: Debug>>(text: &str) -> T {
    text.parse().expect("a test's names are valid")
}

/// An installation of `keyway/hubspot` in `dev`.
pub fn installation(tenant: &str) -> Installation {
    Installation {
        environment: name("dev"),
        tenant: name(tenant),
        connector: name("keyway/hubspot"),
    }
}

/// A release of `keyway/hubspot`, its digest made from the version.
pub fn release(version: &str) -> Release {
    let json = format!(r#"{{"format":1,"name":"keyway/hubspot","version":"{version}"}}"#);
    let descriptor: Descriptor = serde_json::from_str(&json).expect("a test's descriptor is valid");
    Release {
        reference: reference(version),
        descriptor,
        component_bytes: 1_024,
        exports: vec!["reader".to_owned()],
        contract: Version::new(1, 0, 0),
        published_by: actor(),
        published_at: datetime!(2026-02-01 12:00 UTC),
    }
}

/// What [`release`] is called.
pub fn reference(version: &str) -> ReleaseRef {
    ReleaseRef::new(name("keyway/hubspot"), name(version), Digest::of(version.as_bytes()))
}

/// A pin of `keyway/hubspot`.
pub fn pin(tenant: &str, generation: u64, version: &str) -> Pin {
    Pin {
        installation: installation(tenant),
        generation,
        release: reference(version),
        actor: actor(),
        reason: "a test wants it".to_owned(),
        at: datetime!(2026-02-02 12:00:00.123456789 UTC),
        reverts_to: None,
        config: None,
    }
}

/// A configuration of an installation.
pub fn config(of: &Installation, generation: u64, json: &str) -> Config {
    let by = By { actor: actor(), reason: None, at: datetime!(2026-02-02 12:00 UTC) };
    let about = ConfigGeneration {
        installation: of.clone(),
        generation,
        digest: Digest::of(json.as_bytes()),
        removed: false,
        by: Some(by),
        back_to: None,
        taken: false,
    };
    Config { json: json.to_owned(), about }
}

/// Somebody.
pub fn actor() -> Actor {
    name("tester")
}

/// An audit entry about `object`.
pub fn entry(object: &str) -> Entry {
    Entry {
        actor: actor(),
        action: "test".to_owned(),
        object: object.to_owned(),
        reason: None,
        before: None,
        after: Some("now".to_owned()),
    }
}
