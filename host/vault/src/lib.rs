//! Credentials, sealed at rest and opened only for the broker.
//!
//! Operators put static credentials in (bearer, API key, basic) and never get them back; the broker
//! asks for them through the port [`Credentials`]. A guest has no way to ask. The host's own API tokens
//! live here too: they are made once, shown once, and kept as hashes.
//!
//! This crate does not send anything and does not decide who may set a credential.
//!
//! [`Credentials`]: keyway_core::ports::Credentials

pub mod connections;
pub mod key;
pub mod private_file;
pub mod seal;
pub mod tokens;

pub use connections::{SecretInput, Vault};
pub use key::SealingKey;
pub use keyway_store::model;
pub use tokens::Tokens;
