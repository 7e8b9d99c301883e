//! Carrying a stream's state across releases, in both directions.

use crate::Result;

/// A connector whose state has changed shape: the contract's interface `state`.
pub trait Remember {
    /// Turns the state of one object from one version into another. The default knows only that a
    /// version is its own.
    fn migrate(object: &str, from: u32, to: u32, state: &str) -> Result<String, Obstacle> {
        if from == to {
            return Ok(state.to_owned());
        }
        Err(Obstacle::Unknown(format!("state version {from} of `{object}` has no way to {to}")))
    }
}

/// Why state cannot be carried over.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Obstacle {
    /// Going back would lose or duplicate data; the text says why.
    Irreversible(String),
    /// This state is not one that the connector ever wrote.
    Unknown(String),
}
