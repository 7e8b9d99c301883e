//! Addresses by host name: one DNS label that stands for an installation, and for a slot and a user of it where wanted.
//!
//! ```text
//!   installation   slot         user
//!   26 letters     12 letters   24 letters     lower-case base32 (RFC 4648 section 6) of the beginning of a SHA-256
//!    128 bits       56 bits      120 bits      hash; the last two are there or not, so the length says which are
//! ```
//!
//! A label is made of names alone: it is the same on every host, after every restart, and nobody has to keep it. It has
//! neither hyphens nor dots and fits the 63 letters of a label (RFC 1035 section 2.3.4), whatever the names are. It is
//! found again among the installations that there are, so two of them cannot share one unless SHA-256 breaks. A label is
//! no secret and opens nothing: each request still brings a token.

use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

use data_encoding::{Encoding, Specification};

use crate::digest::Digest;
use crate::ids::{Installation, Slot, User};

/// What an address stands for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Address {
    /// Whose calls they are.
    pub installation: Installation,
    /// With which slot; none leaves it to the request.
    pub slot: Option<Slot>,
    /// For which user; none leaves it to the request.
    pub user: Option<User>,
}

/// An address as a DNS label.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Label {
    /// Of the installation.
    pub installation: InstallationMark,
    /// Of the slot, where the address names one.
    pub slot: Option<SlotMark>,
    /// Of the user, where the address names one.
    pub user: Option<UserMark>,
}

/// What is left of an installation in a label.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct InstallationMark([u8; 16]);

/// What is left of a slot in a label. The slots of a release are few.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct SlotMark([u8; 7]);

/// What is left of a user in a label.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct UserMark([u8; 15]);

/// Text that is no label of an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("an address has 26, 38, 50 or 62 letters of base32")]
pub struct InvalidLabel;

/// Letters of each part.
const INSTALLATION_LETTERS: usize = 26;
const SLOT_LETTERS: usize = 12;
const USER_LETTERS: usize = 24;

/// Base32 in lower case. Where the last letter has bits to spare, they are zero: each label has one spelling but for its
/// case.
static BASE32: LazyLock<Encoding> = LazyLock::new(|| {
    let mut base32 = Specification::new();
    base32.symbols.push_str("abcdefghijklmnopqrstuvwxyz234567");
    base32.translate.from.push_str("ABCDEFGHIJKLMNOPQRSTUVWXYZ");
    base32.translate.to.push_str("abcdefghijklmnopqrstuvwxyz");
    base32.encoding().expect("32 letters, each once")
});

// === impl Label ===

impl Label {
    /// The label of an address.
    pub fn of(address: &Address) -> Self {
        Self {
            installation: InstallationMark::of(&address.installation),
            slot: address.slot.as_ref().map(SlotMark::of),
            user: address.user.as_ref().map(UserMark::of),
        }
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE32.encode(&self.installation.0))?;
        if let Some(slot) = &self.slot {
            f.write_str(&BASE32.encode(&slot.0))?;
        }
        self.user.as_ref().map_or(Ok(()), |user| f.write_str(&BASE32.encode(&user.0)))
    }
}

impl FromStr for Label {
    type Err = InvalidLabel;

    fn from_str(text: &str) -> Result<Self, InvalidLabel> {
        let (installation, rest) =
            text.split_at_checked(INSTALLATION_LETTERS).ok_or(InvalidLabel)?;
        let (slot, user) = match rest.len() {
            0 => (None, None),
            SLOT_LETTERS => (Some(rest), None),
            USER_LETTERS => (None, Some(rest)),
            _ => {
                let (slot, user) = rest.split_at_checked(SLOT_LETTERS).ok_or(InvalidLabel)?;
                (Some(slot), Some(user))
            }
        };
        Ok(Self {
            installation: InstallationMark(decoded(installation)?),
            slot: slot.map(decoded).transpose()?.map(SlotMark),
            user: user.map(decoded).transpose()?.map(UserMark),
        })
    }
}

fn decoded<const N: usize>(text: &str) -> Result<[u8; N], InvalidLabel> {
    let bytes = BASE32.decode(text.as_bytes()).map_err(|_| InvalidLabel)?;
    bytes.try_into().map_err(|_| InvalidLabel)
}

fn beginning<const N: usize>(digest: &Digest) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.copy_from_slice(&digest.as_bytes()[..N]);
    bytes
}

// === impl marks ===

impl InstallationMark {
    /// Of an installation. No name has a zero in it, so two installations are never the same text.
    pub fn of(installation: &Installation) -> Self {
        let Installation { environment, tenant, connector } = installation;
        let (environment, tenant) = (environment.as_str(), tenant.as_str());
        let text = ["keyway address", environment, tenant, connector.as_str()].join("\0");
        Self(beginning(&Digest::of(text.as_bytes())))
    }
}

impl SlotMark {
    /// Of a slot.
    pub fn of(slot: &Slot) -> Self {
        Self(beginning(&Digest::of(slot.as_str().as_bytes())))
    }
}

impl UserMark {
    /// Of a user: how the hash begins that the store keeps the user's connections by.
    pub fn of(user: &User) -> Self {
        Self(beginning(&Digest::of(user.as_str().as_bytes())))
    }

    /// As hexadecimal digits.
    pub fn hex(&self) -> String {
        hex::encode(self.0)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn address(tenant: &str, slot: Option<&str>, user: Option<&str>) -> Address {
        let installation = Installation {
            environment: "dev".parse().unwrap(),
            tenant: tenant.parse().unwrap(),
            connector: "acme/crm".parse().unwrap(),
        };
        let (slot, user) = (slot.map(|s| s.parse().unwrap()), user.map(|u| u.parse().unwrap()));
        Address { installation, slot, user }
    }

    /// Whoever has written an address down finds the same installation under it for ever.
    #[test]
    fn a_label_stays_what_it_is() {
        let label = Label::of(&address("acme", Some("token"), Some("zoe@example.com")));
        let (installation, slot, user) =
            ("x4nzqx6tmahqmtqwisti2aurge", "hrdj5hlmlb2q", "hzutz57fwz4ibp7thmwsmjw2");
        assert_eq!(label.to_string(), [installation, slot, user].concat());
        assert_eq!(Label::of(&address("acme", None, None)).to_string(), installation);
    }

    #[test]
    fn labels_are_read_as_they_are_printed_in_any_case() {
        let longest = "x".repeat(128);
        let all = [
            address("acme", None, None),
            address("acme", Some("token"), None),
            address("acme", None, Some("zoe")),
            address("acme", Some("token"), Some("zoe")),
            address(&longest, Some(&longest[..63]), Some(&longest)),
            address("ACME", None, None),
        ];
        let mut seen = HashSet::new();
        for address in all {
            let label = Label::of(&address);
            let text = label.to_string();
            assert!(text.len() <= 63, "{text}");
            assert!(text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()), "{text}");
            assert_eq!(text.parse(), Ok(label));
            assert_eq!(text.to_ascii_uppercase().parse(), Ok(label));
            assert!(seen.insert(text), "{address:?} shares a label");
        }
    }

    #[test]
    fn no_other_text_is_a_label() {
        let text = Label::of(&address("acme", None, None)).to_string();
        let longer = format!("{text}a");
        let spare = format!("{}7", &text[..25]);
        for bad in ["", "www", "keyway", &text[..25], &longer, &spare, &text.replace('a', "1")] {
            if bad != text {
                assert_eq!(bad.parse::<Label>(), Err(InvalidLabel), "{bad}");
            }
        }
        assert_eq!("ü".repeat(13).parse::<Label>(), Err(InvalidLabel));
    }
}
