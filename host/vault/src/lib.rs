//! Credentials, sealed at rest and opened only for the broker.
//!
//! Operators put credentials in, or people consent at a provider; the broker asks for them through the port
//! [`Credentials`]. A guest has no way to ask. The host's own API tokens live here too: they are made once, shown
//! once, and kept as hashes.
//!
//! This crate opens no connection: what it has to say to an authorization server goes through the port
//! [`Outbound`]. It does not decide who may set a credential.
//!
//! [`Credentials`]: keyway_core::ports::Credentials
//! [`Outbound`]: keyway_core::ports::Outbound

mod barrier;
pub mod base_url;
pub mod connections;
pub mod consent;
pub mod disconnect;
pub mod facts;
pub mod import;
pub mod keep_alive;
pub mod key;
pub mod keys;
mod metrics;
pub mod oauth;
mod open;
pub mod private_file;
mod probe;
mod reseal;
pub mod seal;
pub mod secret;
pub mod standing;
pub mod steps;
pub mod tenant;
pub mod tokens;

pub use connections::{Parts, Vault};
pub use keys::{KeyRing, KeyService, Keys};
pub use keyway_store::model;
pub use metrics::Metrics;
pub use seal::Sealer;
pub use secret::SecretInput;
pub use tokens::Tokens;
