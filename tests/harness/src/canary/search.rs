//! Looks for canaries in what a run has left behind, and does not trust itself: everything that is searched must have
//! something that has to be in it, and a canary that is put into a copy of it must be found there.

use std::fmt;

use memchr::memmem::Finder;

use super::secrets::{Canaries, MARK, SPELLINGS, spellings};

/// Letters around a find that are shown, and that tell which canary it is.
const AROUND: usize = 160;

/// Finds that are kept of one artefact: the first ones tell where to look.
const FINDS_MAX: usize = 3;

/// A search of everything that a run has left behind.
pub(super) struct Search {
    needles: Vec<Needle>,
    plants: Vec<Vec<u8>>,
    canaries: usize,
    tally: Tally,
}

/// What was searched, and what came of it.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Things searched.
    pub(super) artefacts: usize,
    /// Bytes of them.
    pub(super) bytes: u64,
    /// Where a canary was, and which.
    pub(super) found: Vec<String>,
    /// What was empty, or lacked what has to be in it.
    pub(super) blank: Vec<String>,
    /// Where a canary was put and not found.
    pub(super) blind: Vec<String>,
}

struct Needle {
    of: String,
    how: &'static str,
    finder: Finder<'static>,
}

// === impl Search ===

impl Search {
    /// For everything planted or kept until now.
    pub(super) fn new(canaries: &Canaries) -> Self {
        let all = canaries.all();
        let count = all.len();
        let marked = ("a planted secret".to_owned(), MARK.as_bytes().to_vec());
        let own = all.into_iter().filter(|canary| !canary.marked);
        let sought = own.map(|canary| (canary.name, canary.value)).chain([marked]);
        let (mut needles, mut plants) = (Vec::new(), Vec::new());
        for (of, value) in sought {
            for (how, spelling) in spellings(&value) {
                let finder = Finder::new(&spelling).into_owned();
                needles.push(Needle { of: of.clone(), how, finder });
                plants.push(spelling);
            }
        }
        Self { needles, plants, canaries: count, tally: Tally::default() }
    }

    /// How many canaries it knows.
    pub(super) const fn canaries(&self) -> usize {
        self.canaries
    }

    /// Searches one thing, in which each of these markers has to be.
    pub(super) fn look(&mut self, artefact: &str, bytes: &[u8], markers: &[&str]) {
        let lacks = |marker: &&&str| bytes.is_empty() || Finder::new(marker).find(bytes).is_none();
        for marker in markers.iter().filter(lacks) {
            let bytes = bytes.len();
            self.tally.blank.push(format!("{artefact}: no `{marker}` in {bytes} bytes"));
        }
        self.tally.artefacts += 1;
        self.tally.bytes += bytes.len() as u64;
        self.tally.found.extend(finds(&self.needles, artefact, bytes));
        self.prove(artefact, bytes);
    }

    /// Puts a canary into a copy, another one in another spelling each time, and finds it there.
    fn prove(&mut self, artefact: &str, bytes: &[u8]) {
        // Steps through all needles, however few the artefacts are: neighbours differ in spelling and in canary.
        let at = self.tally.artefacts * (SPELLINGS + 1) % self.plants.len();
        let (before, after) = bytes.split_at(bytes.len() / 2);
        let copy = [before, &self.plants[at], after].concat();
        if self.needles[at].finder.find(&copy).is_none() {
            let Needle { of, how, .. } = &self.needles[at];
            self.tally.blind.push(format!("{artefact}: {of} {how}"));
        }
    }

    /// What came of it.
    pub(super) fn end(self) -> Tally {
        self.tally
    }
}

fn finds(needles: &[Needle], artefact: &str, bytes: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    for Needle { of, how, finder } in needles {
        if let Some(at) = finder.find(bytes) {
            let around = &bytes[at.saturating_sub(AROUND)..bytes.len().min(at + AROUND)];
            let around = String::from_utf8_lossy(around).escape_debug().to_string();
            found.push(format!("{artefact}: {of} {how}, at byte {at}: …{around}…"));
        }
    }
    found.truncate(FINDS_MAX);
    found
}

// === impl Tally ===

impl Tally {
    /// Whether nothing was found by a search that finds.
    pub(super) fn held(&self) -> bool {
        let Self { artefacts, bytes, found, blank, blind } = self;
        *artefacts > 0 && *bytes > 0 && [found, blank, blind].into_iter().all(Vec::is_empty)
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { artefacts, bytes, found, blank, blind } = self;
        write!(f, "artefacts={artefacts} bytes={bytes} found={}", found.len())?;
        write!(f, " blank={} blind={}", blank.len(), blind.len())
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    fn searched(look: impl FnOnce(&mut Search, &str)) -> Tally {
        let canaries = Canaries::default();
        let secret = canaries.plant("acme token");
        canaries.keep("admin's token", "kw_made-by-the-host-itself");
        let mut search = Search::new(&canaries);
        assert_eq!(search.canaries(), 2);
        look(&mut search, &secret);
        search.end()
    }

    #[test]
    fn what_holds_no_canary_holds() {
        let tally = searched(|search, _| search.look("log", b"acme called", &["acme"]));
        assert!(tally.held(), "{tally:?}");
    }

    #[test]
    fn a_canary_is_found_in_every_spelling_and_in_part() {
        for write in [
            |secret: &str| format!("acme {secret}"),
            |secret: &str| format!("acme {}", &secret[..16]),
            |secret: &str| format!("acme {}", STANDARD.encode(format!("user:{secret}"))),
            |_: &str| "acme kw_made-by-the-host-itself".to_owned(),
        ] {
            let tally =
                searched(|search, secret| search.look("log", write(secret).as_bytes(), &["acme"]));
            assert!(!tally.found.is_empty() && !tally.held(), "{tally:?}");
        }
    }

    #[test]
    fn what_is_empty_or_of_something_else_does_not_pass() {
        let tally = searched(|search, _| search.look("log", b"", &["acme"]));
        assert_eq!((tally.blank.len(), tally.held()), (1, false));
        let tally = searched(|search, _| search.look("log", b"globex called", &["acme"]));
        assert_eq!((tally.blank.len(), tally.held()), (1, false));
        assert!(!searched(|_, _| ()).held(), "nothing was searched");
    }
}
