//! Components on their way in: so many at once, and so many of one token, however slowly they come.
//!
//! A place is held from the first byte until the publication has ended, so it bounds the memory that components take. That
//! one token never has them all keeps its slow line, or its malice, from stopping everybody else's publications.

use std::time::Duration;

use keyway_core::fault::Retry;
use keyway_core::ids::Actor;
use keyway_core::shares::{Full, Share, Shares};
use keyway_core::{Code, Fault};

/// When an upload that found no room may come again: most components are in within it.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// Who uploads.
pub(crate) struct Uploads {
    /// Of one token.
    token_max: usize,
    places: Shares<Actor>,
}

/// A place, until it is dropped.
pub(crate) type Upload = Share<Actor>;

// === impl Uploads ===

impl Uploads {
    pub(crate) fn new(uploads_max: usize, token_max: usize) -> Self {
        Self { token_max, places: Shares::new(uploads_max, token_max) }
    }

    /// A place for a component of this token.
    pub(crate) fn begin(&self, token: &Actor) -> Result<Upload, Fault> {
        self.places.take(token, 1).map_err(|full| {
            let own = self.token_max;
            let detail = match full {
                Full::All => "too many publications are under way".to_owned(),
                Full::Own => format!("{own} publications of token `{token}` are under way"),
            };
            Fault::new(Code::Overloaded, detail).retry(Retry::After(RETRY_AFTER))
        })
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
        assert_eq!(uploads.places.takers(), 1, "who has none is forgotten");
    }
}
