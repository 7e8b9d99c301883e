//! Base URLs, read once: of a request below one, only the path is left to read.
//!
//! It is a shortcut and nothing else. Whatever it reads, [`Target::parse`] would read of both texts in one, and what it
//! refuses, that would refuse for the same reason.

use std::sync::{PoisonError, RwLock};

use foldhash::HashMap;

use crate::reason::Stop;
use crate::target::{self, Target};

/// Base URLs that are remembered: of more tenants with one of their own than call at a time. All are forgotten where
/// there would be more.
const BASES_MAX: usize = 1_024;

/// Bytes of the longest URL that is read this way; `http` reads none of over 64 KiB, and nearly all are shorter than this.
const SHORT_BYTES_MAX: usize = 8 << 10;

/// The base URLs that were read so far, by their texts without slashes at the end.
#[derive(Default)]
pub(crate) struct Bases(RwLock<HashMap<Box<str>, Target>>);

// === impl Bases ===

impl Bases {
    /// Reads a URL of its own, or a path below a base URL.
    pub(crate) fn read(
        &self,
        url: &str,
        base_url: Option<&str>,
        bytes_max: usize,
    ) -> Result<Target, Stop> {
        if !target::is_path(url) {
            return Target::parse(url, bytes_max);
        }
        let base = target::base(url, base_url)?;
        if base.len() + url.len() > bytes_max.min(SHORT_BYTES_MAX) {
            return Target::parse(&[base, url].concat(), bytes_max);
        }
        if let Some(below) = self.below(base, url) {
            return below;
        }
        let target = Target::parse(&[base, url].concat(), bytes_max)?;
        self.learn(base, bytes_max);
        Ok(target)
    }

    /// None where the base is not known.
    fn below(&self, base: &str, path: &str) -> Option<Result<Target, Stop>> {
        let bases = self.0.read().unwrap_or_else(PoisonError::into_inner);
        bases.get(base).map(|base| base.below(path))
    }

    fn learn(&self, base: &str, bytes_max: usize) {
        // With one of these, the path would be a part of something else.
        if base.contains(['?', '#']) {
            return;
        }
        let Ok(target) = Target::parse(base, bytes_max) else { return };
        let mut bases = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if bases.len() >= BASES_MAX {
            bases.clear();
        }
        bases.insert(base.into(), target);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::reason::Reason;

    const MAX: usize = 8 << 10;

    /// What became of a text, as far as anybody can tell.
    fn outcome(read: Result<Target, Stop>) -> Result<(String, u16, String, String), Reason> {
        let parts = |target: Target| {
            let whole = target.as_str().to_owned();
            (target.host.to_string(), target.port, whole, target.path_and_query().into_owned())
        };
        read.map(parts).map_err(|stop| stop.reason)
    }

    fn whole(bases: &Bases, url: &str, base: &str) {
        let expected = Target::parse(&[base.trim_end_matches('/'), url].concat(), MAX);
        // Refused for where it leads, before anything else is looked at.
        let climbs = crate::climb::climbs(url);
        let expected = if climbs { Err(Reason::UrlMalformed) } else { outcome(expected) };
        stays_below(expected.as_ref().ok(), base);
        // The first time it is read whole, and then below what was learnt.
        for _ in 0..2 {
            assert_eq!(outcome(bases.read(url, Some(base), MAX)), expected, "{base} {url}");
        }
    }

    /// What is read is below the base, as the one parser reads either.
    fn stays_below(read: Option<&(String, u16, String, String)>, base: &str) {
        let Ok(base) = url::Url::parse(base) else { return };
        let Some((_, _, _, path)) =
            read.filter(|_| base.query().is_none() && base.fragment().is_none())
        else {
            return;
        };
        assert!(path.starts_with(base.path().trim_end_matches('/')), "{path} below {base}");
    }

    #[test]
    fn paths_are_joined_to_the_base() {
        let bases = Bases::default();
        let base = Some("https://na1.example.com/services/");
        for _ in 0..2 {
            let target = bases.read("/x?y", base, MAX).unwrap();
            assert_eq!(target.as_str(), "https://na1.example.com/services/x?y");
            let own = bases.read("https://a.com/x", base, MAX).unwrap();
            assert_eq!(own.as_str(), "https://a.com/x");
            let reason = |url, base| bases.read(url, base, MAX).unwrap_err().reason;
            assert_eq!(reason("//evil.com/x", base), Reason::UrlMalformed);
            assert_eq!(reason("/x", None), Reason::BaseUrlMissing);
            for path in [
                "/../admin",
                "/a/%2e%2e/.%2e/admin",
                "/..%2fadmin",
                "/%2e%2e%5cadmin",
                "/x%2fy/%2e%2e/%2e%2e/admin",
                "/x%5cy/../%2e%2e/admin",
            ] {
                assert_eq!(reason(path, base), Reason::UrlMalformed, "{path}");
            }
            let within = bases.read("/a/../b", base, MAX).unwrap();
            assert_eq!(within.as_str(), "https://na1.example.com/services/b");
        }
    }

    #[test]
    fn bases_are_bounded_and_lengths_are_the_whole() {
        let bases = Bases::default();
        for tenant in 0..=BASES_MAX {
            let base = format!("https://t{tenant}.example.com");
            assert_eq!(&*bases.read("/x", Some(&base), MAX).unwrap().host, &base[8..]);
        }
        assert!(bases.0.read().unwrap().len() <= BASES_MAX);
        let base = "https://a.example.com/b";
        for length in [MAX - base.len(), MAX - base.len() + 1] {
            whole(&bases, &format!("/{}", "a".repeat(length - 1)), base);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        #[test]
        fn what_is_read_below_a_base_is_what_would_be_read_whole(
            base in prop::sample::select(vec![
                "https://a.com", "https://a.com/", "https://A.com./", "https://a.com:8443/x", "https://a.com/x/..",
                "https://a.com/x//./", "https://a.com/%2e%2e/y/", "https://a.com/{x}/\"", "https://a.com/x?y",
                "https://a.com/x#y", "https://a.com/a<b", "http://a.com/x", "https://127.0.0.1/x", "https://u@a.com/x",
                "https://a.com:443/x/", "nothing",
            ]),
            pieces in prop::collection::vec(
                prop::sample::select(vec![
                    "/", "//", ".", "..", "/../", "/./", "%2e", "%2E%2e/", "%00", "%zz", "%", "a", "b;c", ":", "@", "?", "??",
                    "#", "?x=1&y", "'", "\"", "<", ">", "`", "{", "}", "|", "^", "[", "]", "\\", " ", "\t", "ü", "\u{7f}", "~", "&",
                ]),
                0..8,
            ),
        ) {
            let url = format!("/{}", pieces.concat());
            if !url.starts_with("//") {
                whole(&Bases::default(), &url, base);
            }
        }

        #[test]
        fn any_path_is_read_as_it_would_be_whole(path in "/[ -~]{0,40}") {
            if !path.starts_with("//") {
                whole(&Bases::default(), &path, "https://a.com/x");
            }
        }
    }
}
