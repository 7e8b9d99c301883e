//! The steps of a refresh, for tests that end the process at each of them.
//!
//! A host has nobody who listens: then a step costs one look at an empty cell. Between `Answered` and `Kept` lie the
//! write and its fsync, which are steps of the store (`Store::open_watched`).

use std::sync::Arc;

use futures_util::future::BoxFuture;

/// A point at which a process may die.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// The intent is durable, nothing is sent.
    Intended,
    /// The server has answered, nothing is durable.
    Answered,
    /// The new tokens are durable, nobody has them.
    Kept,
}

/// Called at each step; the refresh goes on when its future ends.
pub type Listener = Arc<dyn Fn(Step) -> BoxFuture<'static, ()> + Send + Sync>;

/// Who listens.
#[derive(Clone, Default)]
pub(crate) struct Steps(pub(crate) Option<Listener>);

impl Steps {
    pub(crate) async fn reached(&self, step: Step) {
        if let Some(listener) = &self.0 {
            listener(step).await;
        }
    }
}
