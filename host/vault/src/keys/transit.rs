//! Sealing keys in a key service of the shape of Vault's transit engine, as Vault and OpenBao have it.
//!
//! The sealing key never leaves the service: data keys are sent there to be wrapped and unwrapped. One named key is
//! used, and each of its versions is a sealing key here. It has to be a derived one: the context goes into the
//! derivation, which is what binds a wrapped data key to its place. A key that ignores the context is refused.
//!
//! Requests go through the port [`Outbound`]; this module opens no connection. What the service answers is held
//! in buffers that nobody wipes, as is everything that comes off a network.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use keyway_core::call::{Failure, FailureKind};
use keyway_core::descriptor::HostPattern;
use keyway_core::exchange::{HostRequest, Response};
use keyway_core::ports::Outbound;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use url::Url;
use zeroize::Zeroizing;

use crate::key::{KEY_BYTES, SecretKey};
use crate::keys::service::{KeyService, Known, KnownKey, SealingKeyId, ServiceError, Wrapped};
use crate::private_file;

const TOKEN: HeaderName = HeaderName::from_static("x-vault-token");
const NAMESPACE: HeaderName = HeaderName::from_static("x-vault-namespace");

/// Asked for by agents and proxies in front of the service, against requests that a browser was tricked into.
const REQUEST: HeaderName = HeaderName::from_static("x-vault-request");

/// Bytes of what the service says went wrong that are passed on.
const WHY_BYTES_MAX: usize = 300;

/// Where the service is, and which of its keys is used.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// `https://` and a host name, with a path if the service is behind one.
    pub address: String,
    /// Where the engine is mounted.
    #[serde(default = "mount")]
    pub mount: String,
    /// The name of the key.
    pub key: String,
    /// For services that have them.
    #[serde(default)]
    pub namespace: Option<String>,
    /// The file with the token, for the host's user only. Read for each request, so an agent may renew it.
    pub token_file: PathBuf,
    /// For one request. 5 s unless told: a start and a tenant's first call wait for it.
    #[serde(default = "timeout", with = "keyway_core::humane")]
    pub timeout: Duration,
}

/// A key of a transit engine.
pub struct Transit {
    config: Config,
    /// Without a slash at its end.
    engine: String,
    host: HostPattern,
    namespace: Option<HeaderValue>,
    outbound: Arc<dyn Outbound>,
}

/// What is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("key service: {field} {problem}")]
pub struct InvalidConfig {
    /// Which setting.
    pub field: &'static str,
    /// What is wrong with it.
    pub problem: &'static str,
}

/// The envelope of every answer.
#[derive(Deserialize)]
struct Answer<T> {
    data: T,
}

#[derive(Deserialize)]
struct Encrypted {
    ciphertext: String,
}

#[derive(Deserialize)]
struct Decrypted {
    plaintext: SecretString,
}

/// What the engine says of a key. `keys` has a member for each version that still decrypts.
#[derive(Deserialize)]
struct Described {
    derived: bool,
    #[serde(default = "yes")]
    supports_encryption: bool,
    #[serde(default = "yes")]
    supports_decryption: bool,
    keys: BTreeMap<String, serde::de::IgnoredAny>,
}

#[derive(Default, Deserialize)]
struct Errors {
    #[serde(default)]
    errors: Vec<String>,
}

fn mount() -> String {
    "transit".to_owned()
}

const fn timeout() -> Duration {
    Duration::from_secs(5)
}

const fn yes() -> bool {
    true
}

// === impl Transit ===

impl Transit {
    /// A key service that is asked through `outbound`.
    pub fn new(config: Config, outbound: Arc<dyn Outbound>) -> Result<Self, InvalidConfig> {
        let invalid = |field, problem| InvalidConfig { field, problem };
        let address = Url::parse(&config.address).map_err(|_| invalid("address", "is no URL"))?;
        let plain = address.username().is_empty()
            && address.password().is_none()
            && address.query().is_none()
            && address.fragment().is_none();
        if address.scheme() != "https" || !plain {
            return Err(invalid("address", "is not `https://`, a host and a path"));
        }
        let port = address.port().map_or(String::new(), |port| format!(":{port}"));
        let host = format!("{}{port}", address.host_str().unwrap_or_default());
        let host = HostPattern::try_from(host).ok().filter(|host| !host.wildcard);
        let host = host.ok_or_else(|| invalid("address", "has no host name with a dot in it"))?;
        if !config.mount.split('/').all(segment) {
            return Err(invalid("mount", "is not letters, digits, `.`, `_`, `-` between slashes"));
        }
        if !segment(&config.key) {
            return Err(invalid("key", "is not letters, digits, `.`, `_`, `-`"));
        }
        let namespace = config.namespace.as_deref().map(HeaderValue::from_str).transpose();
        let namespace = namespace.map_err(|_| invalid("namespace", "is no header value"))?;
        let engine = format!("{}/v1/{}", address.as_str().trim_end_matches('/'), config.mount);
        // The longest version that there can be, so that none fails later.
        let longest = format!("{}/{}:v{}", config.mount, config.key, u64::MAX);
        if longest.parse::<SealingKeyId>().is_err() {
            return Err(invalid("key", "is too long together with the mount"));
        }
        Ok(Self { config, engine, host, namespace, outbound })
    }

    /// What a version of the key is called here.
    fn id(&self, version: u64) -> SealingKeyId {
        let Config { mount, key, .. } = &self.config;
        format!("{mount}/{key}:v{version}").parse().expect("checked when this was made")
    }

    async fn describe(&self) -> Result<Described, ServiceError> {
        let path = format!("keys/{}", self.config.key);
        let described: Described = read(&self.send(Method::GET, &path, None).await?)?;
        if !described.derived {
            let why = "its key is not a derived one: any data key would unwrap in any place";
            return Err(ServiceError::Refused { why: why.to_owned() });
        }
        if !described.supports_encryption || !described.supports_decryption {
            let why = "its key is of a type that does not encrypt and decrypt";
            return Err(ServiceError::Refused { why: why.to_owned() });
        }
        Ok(described)
    }

    /// One of the verbs that take a body, on the key.
    async fn ask<T: DeserializeOwned>(
        &self,
        verb: &str,
        fields: &[(&str, &str)],
    ) -> Result<T, ServiceError> {
        let path = format!("{verb}/{}", self.config.key);
        read(&self.send(Method::POST, &path, Some(body(fields))).await?)
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<SecretString>,
    ) -> Result<Response, ServiceError> {
        let request = HostRequest {
            purpose: "key",
            environment: None,
            method,
            url: format!("{}/{path}", self.engine),
            hosts: vec![self.host.clone()],
            headers: self.headers(body.is_some())?,
            body,
            credential: None,
            timeout: self.config.timeout,
        };
        let response =
            self.outbound.fetch(request).await.map_err(|unfinished| unsent(unfinished.failure))?;
        if (200..300).contains(&response.status) { Ok(response) } else { Err(refusal(&response)) }
    }

    fn headers(&self, body: bool) -> Result<HeaderMap, ServiceError> {
        let mut headers = HeaderMap::new();
        headers.insert(TOKEN, self.token()?);
        headers.insert(REQUEST, HeaderValue::from_static("true"));
        headers.extend(self.namespace.clone().map(|namespace| (NAMESPACE, namespace)));
        if body {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        Ok(headers)
    }

    fn token(&self) -> Result<HeaderValue, ServiceError> {
        let path = &self.config.token_file;
        let refused = |why: String| ServiceError::Refused { why };
        let token = private_file::read(path).map_err(|error| refused(error.to_string()))?;
        let token = token.ok_or_else(|| refused(format!("{} is missing", path.display())))?;
        let mut token = HeaderValue::from_bytes(token.trim_ascii())
            .map_err(|_| refused(format!("{} holds no token", path.display())))?;
        token.set_sensitive(true);
        Ok(token)
    }

    /// The ciphertext of a wrapped data key and the sealing key that it says it was wrapped with, which must be the one
    /// that the row says.
    fn ciphertext<'w>(&self, wrapped: &'w Wrapped) -> Result<&'w str, ServiceError> {
        let text = std::str::from_utf8(&wrapped.bytes).map_err(|_| ServiceError::Authentication)?;
        let id = version(text).map(|version| self.id(version));
        match id {
            Some(id) if id == wrapped.sealing_key => Ok(text),
            // Of another key or mount, which this service was not told of.
            Some(_) if !self.is_ours(&wrapped.sealing_key) => {
                Err(ServiceError::Unknown { id: wrapped.sealing_key.clone() })
            }
            _ => Err(ServiceError::Authentication),
        }
    }

    fn is_ours(&self, id: &SealingKeyId) -> bool {
        let Config { mount, key, .. } = &self.config;
        id.as_str().starts_with(&format!("{mount}/{key}:v"))
    }

    fn wrapped(&self, encrypted: Encrypted) -> Result<Wrapped, ServiceError> {
        let version = version(&encrypted.ciphertext).ok_or_else(nonsense)?;
        Ok(Wrapped { sealing_key: self.id(version), bytes: encrypted.ciphertext.into_bytes() })
    }
}

#[async_trait]
impl KeyService for Transit {
    fn kind(&self) -> &'static str {
        "transit"
    }

    async fn known(&self) -> Result<Known, ServiceError> {
        let described = self.describe().await?;
        let versions = described.keys.keys().filter_map(|version| version.parse().ok());
        let mut versions: Vec<u64> = versions.collect();
        versions.sort_unstable();
        let current = versions.last().map(|version| self.id(*version)).ok_or_else(nonsense)?;
        // It shows nothing that depends on the key.
        let keys = versions.iter().map(|version| KnownKey { id: self.id(*version), check: None });
        Ok(Known { current, keys: keys.collect() })
    }

    async fn wrap(&self, key: &SecretKey, context: &[u8]) -> Result<Wrapped, ServiceError> {
        let plaintext = Zeroizing::new(STANDARD.encode(key.expose()));
        let context = STANDARD.encode(context);
        let fields = [("plaintext", plaintext.as_str()), ("context", &context)];
        self.wrapped(self.ask("encrypt", &fields).await?)
    }

    async fn unwrap(&self, wrapped: &Wrapped, context: &[u8]) -> Result<SecretKey, ServiceError> {
        let context = STANDARD.encode(context);
        let fields = [("ciphertext", self.ciphertext(wrapped)?), ("context", context.as_str())];
        let answer = self.ask("decrypt", &fields).await;
        let Decrypted { plaintext } = answer.map_err(|error| of_ciphertext(error, wrapped))?;
        let mut bytes = Zeroizing::new(Vec::with_capacity(KEY_BYTES.next_multiple_of(3)));
        let decoded = STANDARD.decode_vec(plaintext.expose_secret(), &mut bytes);
        let key = decoded.ok().and_then(|()| SecretKey::from_bytes(&bytes));
        key.ok_or(ServiceError::Authentication)
    }

    async fn rewrap(&self, wrapped: &Wrapped, context: &[u8]) -> Result<Wrapped, ServiceError> {
        let context = STANDARD.encode(context);
        let fields = [("ciphertext", self.ciphertext(wrapped)?), ("context", context.as_str())];
        let answer = self.ask("rewrap", &fields).await;
        self.wrapped(answer.map_err(|error| of_ciphertext(error, wrapped))?)
    }

    async fn rotate(&self) -> Result<SealingKeyId, ServiceError> {
        let path = format!("keys/{}/rotate", self.config.key);
        self.send(Method::POST, &path, Some(body(&[]))).await?;
        Ok(self.known().await?.current)
    }
}

impl fmt::Debug for Transit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transit").field("config", &self.config).finish_non_exhaustive()
    }
}

fn segment(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        && text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric())
}

/// The version of the key that a ciphertext names: `vault:v3:…`. None if it is no ciphertext.
fn version(ciphertext: &str) -> Option<u64> {
    let (version, rest) = ciphertext.strip_prefix("vault:v")?.split_once(':')?;
    let base64 = |b: u8| b.is_ascii_alphanumeric() || b"+/=".contains(&b);
    let plain = version.bytes().all(|b| b.is_ascii_digit()) && !version.starts_with('0');
    (plain && !rest.is_empty() && rest.bytes().all(base64)).then(|| version.parse().ok()).flatten()
}

/// A JSON object of these members, in a buffer that is never copied to a larger one. The values are base64 and
/// ciphertexts, which JSON takes as they are.
fn body(fields: &[(&str, &str)]) -> SecretString {
    let members = fields.iter().map(|(name, value)| name.len() + value.len() + 5).sum::<usize>();
    let mut text = String::with_capacity(2 + members + fields.len().saturating_sub(1));
    text.push('{');
    for (at, (name, value)) in fields.iter().enumerate() {
        let pieces = [if at == 0 { "\"" } else { ",\"" }, name, "\":\"", value, "\""];
        pieces.into_iter().for_each(|piece| text.push_str(piece));
    }
    text.push('}');
    text.into()
}

fn read<T: DeserializeOwned>(response: &Response) -> Result<T, ServiceError> {
    let answer: Result<Answer<T>, _> = serde_json::from_slice(&response.body);
    answer.map(|answer| answer.data).map_err(|_| nonsense())
}

fn nonsense() -> ServiceError {
    ServiceError::unavailable("its answer is not one of a transit engine")
}

/// What no answer to a request means.
fn unsent(failure: Failure) -> ServiceError {
    match failure.kind {
        FailureKind::Denied => ServiceError::Refused { why: failure.message },
        _ => ServiceError::Unavailable { why: failure.message },
    }
}

/// What an answer that is no success means.
fn refusal(response: &Response) -> ServiceError {
    let Errors { errors } = serde_json::from_slice(&response.body).unwrap_or_default();
    let said = errors.join("; ");
    let said = &said[..said.floor_char_boundary(WHY_BYTES_MAX)];
    let why = format!("status {}: {said}", response.status);
    match response.status {
        // Vault says the first, OpenBao the second.
        400 if said.contains("unable to decrypt") => ServiceError::Authentication,
        400 if said.contains("message authentication failed") => ServiceError::Authentication,
        // 412 is a replica that is behind, 429, 472 and 473 are standbys.
        412 | 429 | 472 | 473 | 500..=599 => ServiceError::Unavailable { why },
        _ => ServiceError::Refused { why },
    }
}

/// What a ciphertext that is refused means, beyond what every refusal may mean.
fn of_ciphertext(error: ServiceError, wrapped: &Wrapped) -> ServiceError {
    match error {
        // The version is below the key's `min_decryption_version`, or the service went back to before it was made.
        ServiceError::Refused { why } if why.contains("too old") || why.contains("too new") => {
            ServiceError::Unknown { id: wrapped.sealing_key.clone() }
        }
        ServiceError::Refused { why } if why.contains("invalid ciphertext") => {
            ServiceError::Authentication
        }
        error => error,
    }
}

#[cfg(test)]
pub(crate) mod tests;
