//! keyway-api
