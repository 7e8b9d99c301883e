//! Canaries: secrets that are made to be looked for, each with a name that says what it was.
//!
//! A secret that this makes begins with [`MARK`], so one look for the mark finds them all, also one that was cut. A
//! secret that the host made has no mark, and is looked for as it is.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// What every planted secret begins with. Occurs nowhere else, and no spelling of it is a name or a word.
pub(super) const MARK: &str = "kQ7canaryX9z";

/// Letters that texts escape: of JSON, of URLs, of forms. No colon: a user of RFC 7617 has none.
const THORNS: &str = "\"/+\\&<>=%";

/// How many spellings [`spellings`] has.
pub(super) const SPELLINGS: usize = 12;

/// Every secret of a run. Clones share them.
#[derive(Clone, Default)]
pub(super) struct Canaries(Arc<Shared>);

#[derive(Default)]
struct Shared {
    drawn: AtomicU32,
    kept: Mutex<Vec<Canary>>,
}

/// A secret, and what it was.
#[derive(Clone)]
pub(super) struct Canary {
    /// Such as `acme token`.
    pub(super) name: String,
    /// Itself.
    pub(super) value: Vec<u8>,
    /// Whether it begins with the mark.
    pub(super) marked: bool,
}

// === impl Canaries ===

impl Canaries {
    /// Makes a secret. Every second one has letters that texts escape.
    pub(super) fn plant(&self, name: impl Into<String>) -> String {
        let number = self.0.drawn.fetch_add(1, Ordering::Relaxed);
        let thorns = if number.is_multiple_of(2) { "" } else { THORNS };
        let value = format!("{MARK}{number:06}{thorns}");
        let canary = Canary { name: name.into(), value: value.clone().into_bytes(), marked: true };
        self.kept().push(canary);
        value
    }

    /// Makes a key of 32 bytes.
    pub(super) fn plant_key(&self, name: &str) -> [u8; 32] {
        let mut key = [b'k'; 32];
        key[..MARK.len()].copy_from_slice(MARK.as_bytes());
        self.kept().push(Canary { name: name.to_owned(), value: key.to_vec(), marked: true });
        key
    }

    /// Takes a secret that the host made, or one that cannot have the mark.
    pub(super) fn keep(&self, name: impl Into<String>, value: &str) {
        assert!(!value.is_empty(), "a secret without a letter is found everywhere");
        let (name, value) = (name.into(), value.as_bytes().to_vec());
        let mut kept = self.kept();
        if kept.iter().all(|known| known.value != value) {
            kept.push(Canary { name, value, marked: false });
        }
    }

    /// All of them so far.
    pub(super) fn all(&self) -> Vec<Canary> {
        self.kept().clone()
    }

    fn kept(&self) -> MutexGuard<'_, Vec<Canary>> {
        self.0.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Every way in which these bytes are written by something that writes bytes, whatever stands around them.
pub(super) fn spellings(secret: &[u8]) -> [(&'static str, Vec<u8>); SPELLINGS] {
    let each = |write: fn(&u8) -> String| -> Vec<u8> {
        secret.iter().map(write).collect::<String>().into_bytes()
    };
    let standard = |offset| base64_at(secret, offset, &STANDARD_NO_PAD);
    let url_safe = |offset| base64_at(secret, offset, &URL_SAFE_NO_PAD);
    [
        ("as it is", secret.to_vec()),
        ("in base64", standard(0)),
        ("in base64, one byte in", standard(1)),
        ("in base64, two bytes in", standard(2)),
        ("in base64 of URLs", url_safe(0)),
        ("in base64 of URLs, one byte in", url_safe(1)),
        ("in base64 of URLs, two bytes in", url_safe(2)),
        ("in hex", each(|byte| format!("{byte:02x}"))),
        ("in capital hex", each(|byte| format!("{byte:02X}"))),
        ("percent-encoded", each(|byte| format!("%{byte:02X}"))),
        ("escaped as JSON", each(|byte| format!("\\u{byte:04x}"))),
        ("as a list of numbers", each(|byte| format!("{byte}, "))),
    ]
}

/// The letters of a secret's base64 that do not depend on its neighbours, where `offset` bytes stand before it in a
/// group of three.
fn base64_at(secret: &[u8], offset: usize, engine: &base64::engine::GeneralPurpose) -> Vec<u8> {
    let padded = [&[0; 2][..offset], secret].concat();
    let text = engine.encode(&padded);
    let (begin, end) = ((offset * 8).div_ceil(6), padded.len() * 8 / 6);
    text.as_bytes()[begin..end].to_vec()
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::{STANDARD, URL_SAFE};

    use super::*;

    fn found(text: &[u8], secret: &[u8]) -> bool {
        let holds = |needle: &[u8]| text.windows(needle.len()).any(|window| window == needle);
        spellings(secret).iter().any(|(_, needle)| holds(needle))
    }

    #[test]
    fn base64_is_found_wherever_the_secret_stands() {
        let canaries = Canaries::default();
        for secret in [canaries.plant("plain"), canaries.plant("with thorns")] {
            for before in ["", "a", "ab", "abc", "user:"] {
                let whole = format!("{before}{secret}, and more");
                assert!(found(STANDARD.encode(&whole).as_bytes(), secret.as_bytes()), "{whole}");
                assert!(found(URL_SAFE.encode(&whole).as_bytes(), secret.as_bytes()), "{whole}");
            }
        }
    }

    #[test]
    fn a_secret_that_was_cut_is_found_by_its_mark() {
        let secret = Canaries::default().plant("cut");
        let cut = &STANDARD.encode(format!("user:{secret}"))[..28];
        assert!(found(cut.as_bytes(), MARK.as_bytes()), "{cut}");
        assert!(!found(cut.as_bytes(), secret.as_bytes()));
    }

    #[test]
    fn each_secret_is_another() {
        let canaries = Canaries::default();
        let (one, two) = (canaries.plant("one"), canaries.plant("two"));
        assert_ne!(one, two);
        assert!(two.ends_with(THORNS));
        let names: Vec<_> = canaries.all().into_iter().map(|canary| canary.name).collect();
        assert_eq!(names, ["one", "two"]);
    }
}
