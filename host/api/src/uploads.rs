//! Components on their way in: so many at once, and so many of one token, however slowly they come.
//!
//! A place is held from the first byte until the publication has ended, so it bounds the memory that components take. That
//! one token never has them all keeps its slow line, or its malice, from stopping everybody else's publications.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use keyway_core::fault::Retry;
use keyway_core::ids::Actor;
use keyway_core::{Code, Fault};

/// When an upload that found no room may come again: most components are in within it.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// Who uploads. Shared.
pub(crate) struct Uploads {
    /// In all.
    uploads_max: usize,
    /// Of one token.
    token_max: usize,
    by_token: Mutex<HashMap<Actor, usize>>,
}

/// A place, until it is dropped.
pub(crate) struct Upload {
    uploads: Arc<Uploads>,
    token: Actor,
}

// === impl Uploads ===

impl Uploads {
    pub(crate) fn new(uploads_max: usize, token_max: usize) -> Arc<Self> {
        Arc::new(Self { uploads_max, token_max, by_token: Mutex::default() })
    }

    /// A place for a component of this token.
    pub(crate) fn begin(self: &Arc<Self>, token: &Actor) -> Result<Upload, Fault> {
        let refuse = |detail: String| {
            Err(Fault::new(Code::Overloaded, detail).retry(Retry::After(RETRY_AFTER)))
        };
        let mut by_token = self.by_token();
        let own = by_token.get(token).copied().unwrap_or_default();
        if own >= self.token_max {
            return refuse(format!("{own} publications of token `{token}` are under way"));
        }
        if by_token.values().sum::<usize>() >= self.uploads_max {
            return refuse("too many publications are under way".to_owned());
        }
        by_token.insert(token.clone(), own + 1);
        Ok(Upload { uploads: Arc::clone(self), token: token.clone() })
    }

    fn by_token(&self) -> MutexGuard<'_, HashMap<Actor, usize>> {
        self.by_token.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        let mut by_token = self.uploads.by_token();
        let Some(own) = by_token.get_mut(&self.token) else { return };
        *own -= 1;
        if *own == 0 {
            by_token.remove(&self.token);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(name: &str) -> Actor {
        name.parse().unwrap()
    }

    #[test]
    fn a_token_has_its_share_and_all_together_have_theirs() {
        let uploads = Uploads::new(3, 2);
        let own: Vec<_> = (0..2).map(|_| uploads.begin(&token("a")).ok().unwrap()).collect();
        let refused = uploads.begin(&token("a")).err().unwrap();
        assert_eq!(refused.code, Code::Overloaded);
        let _other = uploads.begin(&token("b")).ok().unwrap();
        assert!(uploads.begin(&token("c")).is_err(), "three in all");
        drop(own);
        assert!(uploads.begin(&token("c")).is_ok() && uploads.begin(&token("a")).is_ok());
        assert_eq!(uploads.by_token().len(), 1, "who has none is forgotten");
    }
}
