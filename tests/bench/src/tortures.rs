//! The tortures that the report knows: those of this program, and those that end elsewhere and are only recorded.
//! Names only.

use crate::{bounds, canary, herd, rows, scrub};

/// Kills at each step of a refresh: an example of `keyway-vault`.
const REFRESH_KILL: &str = "refresh-kill";

/// Kills in the middle of a write: an example of `keyway-store`.
const STORE_KILL: &str = "store-kill";

/// What this program runs.
pub(crate) const HERE: [&str; 5] =
    [rows::SWAP, herd::NAME, canary::NAME, scrub::NAME, bounds::NAME];

/// What runs elsewhere.
pub(crate) const ELSEWHERE: [&str; 2] = [REFRESH_KILL, STORE_KILL];

/// Where a torture stands in the report; nowhere if there is none of that name.
pub(crate) fn place(name: &str) -> Option<usize> {
    HERE.iter().chain(&ELSEWHERE).position(|known| *known == name)
}
