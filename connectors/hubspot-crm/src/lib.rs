//! HubSpot's CRM: everything that both lines of `keyway/hubspot` have in common.
//!
//! The vendor's documents of the two generations differ, for what is used here, in paths alone:
//! parameters, bodies and answers are the same schema for schema. So a line is a [`Generation`], and
//! this crate is the connector. It makes no component itself; `hubspot-1` and `hubspot-2` do.

mod actions;
mod api;
mod config;
mod cursor;
mod discover;
mod errors;
mod login;
mod object;
mod outcomes;
mod read;
mod wide;
mod write;

use std::marker::PhantomData;

use keyway_sdk::{
    Act, Actions, Api, Describe, Descriptor, ObjectSpec, Operation, Outcome, Page, Read,
    ReadRequest, ReadSpec, Result, Schemas, Write, WriteRequest,
};

use crate::object::Object;

/// A line of the connector: which generation of the provider's API it speaks.
pub trait Generation: 'static {
    /// As the provider calls it.
    const API: &'static str;
    /// Version of the release.
    const VERSION: &'static str;
    /// Path of the account's details.
    const ACCOUNT_INFO: &'static str;
    /// Where tokens are issued.
    const TOKEN_URL: &'static str;
    /// Where tokens are revoked.
    const REVOKE_URL: &'static str;

    /// Path of an object's records.
    fn objects(object: &str) -> String;
    /// Path of an object's properties.
    fn properties(object: &str) -> String;
}

/// The connector, in one of its lines.
pub struct HubSpot<G>(PhantomData<G>);

impl<G: Generation> Describe for HubSpot<G> {
    fn describe() -> Descriptor {
        let object = |object: Object| {
            ObjectSpec::new(object.summary())
                .read(ReadSpec::pages_of(api::PAGE_MAX).incremental().deletes())
                .write([Operation::Create, Operation::Update, Operation::Upsert, Operation::Delete])
        };
        Descriptor::new("keyway/hubspot", G::VERSION)
            .summary("Contacts and companies of a HubSpot account.")
            // The vendor's documents state no day on which `v3` ends.
            .api(Api::new(G::API))
            .host(api::HOST)
            .base_url(format!("https://{}", api::HOST))
            .slot(api::SLOT, login::slot::<G>())
            .rate_limit_headers(api::rate_limit_headers())
            .object(Object::Contacts.name(), object(Object::Contacts))
            .object(Object::Companies.name(), object(Object::Companies))
            .actions(&Self::actions())
            .config(config::schema())
    }
}

impl<G: Generation> Read for HubSpot<G> {
    fn discover(object: Option<&str>) -> Result<Schemas> {
        discover::discover::<G>(object)
    }

    fn read(request: ReadRequest) -> Result<Page> {
        read::read::<G>(&request)
    }
}

impl<G: Generation> Write for HubSpot<G> {
    fn write(request: WriteRequest) -> Result<Vec<Outcome>> {
        write::write::<G>(request)
    }
}

impl<G: Generation> Act for HubSpot<G> {
    fn actions() -> Actions {
        actions::table::<G>()
    }
}
