//! Sealing: a value, the place where it belongs, and the data key of whoever it belongs to.
//!
//! A sealed value is `KWYS`, format, algorithm, the data key's id (8 bytes), the nonce (24), ciphertext and tag. The
//! associated data names field, environment, tenant, connector, slot, user, data key and version, each with its length
//! in front, so a row that somebody copies to another tenant, another slot or an older version does not open.
//!
//! Which data key that is, and where it comes from, is decided in [`keys`](crate::keys).

use keyway_core::ids::{ConnectionRef, Connector, Environment, Slot, Tenant, User};
use keyway_core::{Code, Fault};
use zeroize::Zeroizing;

use crate::key::{CipherError, joined};
use crate::keys::{self, DataKeyId, ID_BYTES, Keys, Owner};

const MAGIC: &[u8; 4] = b"KWYS";

/// The one format of sealed values there is.
const FORMAT: u8 = 1;

/// XChaCha20-Poly1305, the one algorithm there is.
const XCHACHA20_POLY1305: u8 = 1;

const HEAD_BYTES: usize = MAGIC.len() + 2 + ID_BYTES;

/// Separates this use of a data key from any later one.
const DOMAIN: &[u8] = b"keyway/vault/sealed/v1";

/// Seals and opens. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Sealer {
    keys: Keys,
}

/// Where a sealed value belongs.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// What it is.
    pub field: Field,
    /// Whose. A secret of an environment, such as an OAuth client's, has no tenant.
    pub environment: &'a Environment,
    /// Whose.
    pub tenant: Option<&'a Tenant>,
    /// Of what.
    pub connector: &'a Connector,
    /// In which slot.
    pub slot: &'a Slot,
    /// Of which user; none means the tenant's own.
    pub user: Option<&'a User>,
    /// Which of the secrets that were there.
    pub version: u64,
}

/// What a sealed value is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Field {
    /// A credential that was set by hand.
    Credential,
    /// What an authorization server issued.
    Tokens,
    /// The secret of an OAuth client.
    Client,
    /// What a consent in progress must remember.
    Consent,
}

/// Why a value cannot be sealed or opened. Says nothing about its content.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SealError {
    /// Too short, or not ours.
    #[error("sealed value has an unknown format")]
    Format,
    /// Sealed by a later version.
    #[error("sealed value has the unknown algorithm {0}")]
    Algorithm(u8),
    /// This host lacks the key, or has another in its place. Nothing opens until it is put right.
    #[error("sealed value needs a key that this host does not have")]
    Key(#[source] keys::Error),
    /// The key cannot be had now, or is damaged.
    #[error("the key of a sealed value cannot be had")]
    Unavailable(#[source] keys::Error),
    /// Changed, or moved from another place.
    #[error("sealed value does not authenticate in its place")]
    Authentication,
    /// The operating system gave no random bytes.
    #[error("no random bytes for a nonce")]
    Random,
}

/// The data key and the rest of a sealed value.
fn split(sealed: &[u8]) -> Result<(DataKeyId, &[u8]), SealError> {
    let (head, rest) = sealed.split_at_checked(HEAD_BYTES).ok_or(SealError::Format)?;
    let head = head.strip_prefix(MAGIC).ok_or(SealError::Format)?;
    match head {
        [FORMAT, XCHACHA20_POLY1305, id @ ..] => {
            Ok((DataKeyId::from_slice(id).ok_or(SealError::Format)?, rest))
        }
        [FORMAT, algorithm, ..] => Err(SealError::Algorithm(*algorithm)),
        _ => Err(SealError::Format),
    }
}

// === impl Sealer ===

impl Sealer {
    /// Seals with these keys.
    pub const fn new(keys: Keys) -> Self {
        Self { keys }
    }

    /// Seals `plain` for `place`.
    pub async fn seal(&self, place: Place<'_>, plain: &[u8]) -> Result<Vec<u8>, SealError> {
        let key = self.keys.current(&place.owner()).await?;
        let sealed = key.secret.seal(&place.associated_data(key.id), plain)?;
        Ok([MAGIC.as_slice(), &[FORMAT, XCHACHA20_POLY1305], &key.id.0, &sealed].concat())
    }

    /// Whether `sealed` is under the data key that seals for `place` now. False also where that is not known in memory.
    pub(crate) fn is_current(&self, place: &Place<'_>, sealed: &[u8]) -> bool {
        let current = self.keys.known_current(&place.owner());
        split(sealed).is_ok_and(|(id, _)| Some(id) == current)
    }

    /// Seals for `to` what an older data key has sealed for `from`; none if it was the current one.
    pub(crate) async fn reseal(
        &self,
        from: Place<'_>,
        to: Place<'_>,
        sealed: &[u8],
    ) -> Result<Option<Vec<u8>>, SealError> {
        if split(sealed)?.0 == self.keys.current(&from.owner()).await?.id {
            return Ok(None);
        }
        let plain = self.open(from, sealed).await?;
        self.seal(to, &plain).await.map(Some)
    }

    /// Opens what was sealed for the same place.
    pub async fn open(
        &self,
        place: Place<'_>,
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let (id, sealed) = split(sealed)?;
        let key = self.keys.find(id).await?;
        // The associated data says it again; this way a tenant's key is not even tried on another's value.
        if key.owner != place.owner() {
            return Err(SealError::Authentication);
        }
        Ok(key.secret.open(&place.associated_data(id), sealed)?)
    }
}

// === impl SealError ===

impl SealError {
    /// What a caller sees for it. `detail` is for what does not pass by itself.
    pub fn fault(self, detail: impl Into<String>) -> Fault {
        match self {
            Self::Unavailable(error) if error.code() != Code::Internal => error.into(),
            error => Fault::new(Code::Internal, detail).caused_by(error),
        }
    }
}

impl From<keys::Error> for SealError {
    fn from(error: keys::Error) -> Self {
        if error.lost() { Self::Key(error) } else { Self::Unavailable(error) }
    }
}

impl From<CipherError> for SealError {
    fn from(error: CipherError) -> Self {
        match error {
            CipherError::Authentication => Self::Authentication,
            CipherError::Random => Self::Random,
        }
    }
}

// === impl Field ===

impl Field {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Credential => "credential",
            Self::Tokens => "tokens",
            Self::Client => "client",
            Self::Consent => "consent",
        }
    }
}

// === impl Place ===

impl<'a> Place<'a> {
    /// In a connection.
    pub const fn connection(of: &'a ConnectionRef, field: Field, version: u64) -> Self {
        let ConnectionRef { installation, slot, user } = of;
        Self {
            field,
            environment: &installation.environment,
            tenant: Some(&installation.tenant),
            connector: &installation.connector,
            slot,
            user: user.as_ref(),
            version,
        }
    }

    /// Whose data key seals here.
    fn owner(&self) -> Owner {
        Owner { environment: self.environment.clone(), tenant: self.tenant.cloned() }
    }

    fn associated_data(&self, key: DataKeyId) -> Vec<u8> {
        // Names are never empty, so an absent one is a place of its own.
        joined(&[
            DOMAIN,
            self.field.as_str().as_bytes(),
            self.environment.as_str().as_bytes(),
            self.tenant.map_or("", Tenant::as_str).as_bytes(),
            self.connector.as_str().as_bytes(),
            self.slot.as_str().as_bytes(),
            self.user.map_or("", User::as_str).as_bytes(),
            &key.0,
            &self.version.to_be_bytes(),
        ])
    }
}

#[cfg(test)]
impl Sealer {
    /// With a sealing key of this byte, for tests.
    pub(crate) fn fixed(store: &keyway_store::Store, byte: u8) -> Self {
        use base64::Engine as _;
        let key = base64::engine::general_purpose::STANDARD.encode([byte; 32]);
        let ring = keys::KeyRing::parse(&format!("current test-{byte} {key}")).unwrap();
        let clock = std::sync::Arc::new(keys::tests::Fixed);
        Self::new(Keys::new(store.clone(), std::sync::Arc::new(ring), clock))
    }
}
