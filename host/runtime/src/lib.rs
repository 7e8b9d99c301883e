//! keyway-runtime
pub mod wit { pub mod v1; }
