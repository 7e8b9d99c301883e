//! The contract's versions: one module for each major, each able to run every operation there is.
//!
//! Nothing outside this folder knows the shape of a contract. A second major adds a module here and
//! makes [`Adapter`] an enum; the first keeps working unchanged.

pub(crate) mod v1;

pub(crate) use v1::{Adapter, OtherTypes, Starting};
