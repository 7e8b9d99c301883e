//! Sealing: XChaCha20-Poly1305 with a random nonce and the place of the value as associated data.
//!
//! A sealed value is `KWS1`, the key's id (8 bytes), the nonce (24), ciphertext and tag. The associated
//! data names environment, tenant, connector, slot and generation, each with its length in front, so a
//! row that somebody copies to another tenant, another slot or an older generation does not open.
//! 192-bit nonces may be random: collisions are out of reach (draft-irtf-cfrg-xchacha section 3.1).

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use keyway_core::ids::{Installation, Slot};
use rand::TryRngCore;
use rand::rngs::OsRng;
use zeroize::Zeroizing;

use crate::key::SealingKey;

const MAGIC: &[u8; 4] = b"KWS1";
const KEY_ID_BYTES: usize = 8;
const NONCE_BYTES: usize = 24;
const HEAD_BYTES: usize = MAGIC.len() + KEY_ID_BYTES + NONCE_BYTES;

/// Separates this use of the key from any later one.
const DOMAIN: &[u8] = b"keyway/connection/v1";

/// Where a sealed value belongs.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// Whose.
    pub installation: &'a Installation,
    /// Which slot.
    pub slot: &'a Slot,
    /// Which setting of it.
    pub generation: u64,
}

/// Why a value cannot be sealed or opened. Says nothing about its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// Too short, or not ours.
    #[error("sealed value has an unknown format")]
    Format,
    /// Sealed with a key that this host does not have.
    #[error("sealed value names key {}, which this host does not have", hex::encode(.0))]
    Key([u8; KEY_ID_BYTES]),
    /// Changed, or moved from another place.
    #[error("sealed value does not authenticate in its place")]
    Authentication,
    /// The operating system gave no random bytes.
    #[error("no random bytes for a nonce")]
    Random,
}

/// Seals `plain` for `place`.
pub fn seal(key: &SealingKey, place: Place<'_>, plain: &[u8]) -> Result<Vec<u8>, SealError> {
    let mut nonce = [0; NONCE_BYTES];
    OsRng.try_fill_bytes(&mut nonce).map_err(|_| SealError::Random)?;
    let payload = Payload { msg: plain, aad: &place.associated_data() };
    let sealed = cipher(key)
        .encrypt(XNonce::from_slice(&nonce), payload)
        .map_err(|_| SealError::Authentication)?;
    Ok([MAGIC.as_slice(), &key.id(), &nonce, &sealed].concat())
}

/// Opens what [`seal`] made for the same place.
pub fn open(
    key: &SealingKey,
    place: Place<'_>,
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>, SealError> {
    let (head, ciphertext) = sealed.split_at_checked(HEAD_BYTES).ok_or(SealError::Format)?;
    let (magic, rest) = head.split_at(MAGIC.len());
    let (id, nonce) = rest.split_at(KEY_ID_BYTES);
    if magic != MAGIC {
        return Err(SealError::Format);
    }
    if id != key.id() {
        let mut named = [0; KEY_ID_BYTES];
        named.copy_from_slice(id);
        return Err(SealError::Key(named));
    }
    let payload = Payload { msg: ciphertext, aad: &place.associated_data() };
    cipher(key)
        .decrypt(XNonce::from_slice(nonce), payload)
        .map(Zeroizing::new)
        .map_err(|_| SealError::Authentication)
}

fn cipher(key: &SealingKey) -> XChaCha20Poly1305 {
    XChaCha20Poly1305::new(Key::from_slice(key.expose()))
}

// === impl Place ===

impl Place<'_> {
    fn associated_data(&self) -> Vec<u8> {
        let Installation { environment, tenant, connector } = self.installation;
        let generation = self.generation.to_be_bytes();
        let parts: [&[u8]; 6] = [
            DOMAIN,
            environment.as_str().as_bytes(),
            tenant.as_str().as_bytes(),
            connector.as_str().as_bytes(),
            self.slot.as_str().as_bytes(),
            &generation,
        ];
        let mut data = Vec::new();
        for part in parts {
            // Names are at most 128 bytes long.
            data.extend((part.len() as u32).to_be_bytes());
            data.extend(part);
        }
        data
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn installation(tenant: &str) -> Installation {
        Installation {
            environment: "dev".parse().unwrap(),
            tenant: tenant.parse().unwrap(),
            connector: "keyway/hubspot".parse().unwrap(),
        }
    }

    #[test]
    fn opens_in_its_place_only() {
        let key = SealingKey::from_bytes([1; 32]);
        let (acme, other) = (installation("acme"), installation("other"));
        let (token, key_slot) = ("token".parse().unwrap(), "key".parse().unwrap());
        let place = Place { installation: &acme, slot: &token, generation: 3 };
        let sealed = seal(&key, place, b"s3cret").unwrap();
        assert_eq!(open(&key, place, &sealed).unwrap().as_slice(), b"s3cret");
        for elsewhere in [
            Place { installation: &other, ..place },
            Place { slot: &key_slot, ..place },
            Place { generation: 2, ..place },
        ] {
            assert_eq!(open(&key, elsewhere, &sealed), Err(SealError::Authentication));
        }
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_seen() {
        let key = SealingKey::from_bytes([1; 32]);
        let acme = installation("acme");
        let slot = "token".parse().unwrap();
        let place = Place { installation: &acme, slot: &slot, generation: 1 };
        let sealed = seal(&key, place, b"s3cret").unwrap();
        for bit in 0..sealed.len() * 8 {
            let mut bad = sealed.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(open(&key, place, &bad).is_err(), "bit {bit}");
        }
        for length in 0..sealed.len() {
            assert!(open(&key, place, &sealed[..length]).is_err(), "length {length}");
        }
    }

    #[test]
    fn the_same_plaintext_never_looks_the_same() {
        let key = SealingKey::from_bytes([1; 32]);
        let acme = installation("acme");
        let slot = "token".parse().unwrap();
        let place = Place { installation: &acme, slot: &slot, generation: 1 };
        assert_ne!(seal(&key, place, b"x").unwrap(), seal(&key, place, b"x").unwrap());
    }

    #[test]
    fn another_key_is_named() {
        let acme = installation("acme");
        let slot = "token".parse().unwrap();
        let place = Place { installation: &acme, slot: &slot, generation: 1 };
        let first = SealingKey::from_bytes([1; 32]);
        let sealed = seal(&first, place, b"x").unwrap();
        let other = SealingKey::from_bytes([2; 32]);
        assert_eq!(open(&other, place, &sealed), Err(SealError::Key(first.id())));
    }
}
