//! How requests are signed, and where a token stands that is not put where tokens usually are: facts about a provider, as a
//! descriptor states them.

use serde::{Deserialize, Serialize};

use crate::descriptor::{InvalidDescriptor, invalid};

/// The headers that a signature of AWS brings along, beside `Authorization`.
pub(crate) const AWS_HEADERS: [&str; 3] =
    ["x-amz-date", "x-amz-content-sha256", "x-amz-security-token"];

/// A header that a token goes into, and what stands before it there.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct TokenHeader {
    /// Field name, such as `X-Shopify-Access-Token`.
    #[serde(default = "authorization")]
    pub name: String,
    /// Such as `Zoho-oauthtoken `, with the space at its end. Nothing unless stated.
    #[serde(default)]
    pub prefix: String,
}

/// An HMAC (RFC 2104) over parts of the request.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Hmac {
    /// The hash.
    #[serde(default)]
    pub algorithm: MacHash,
    /// How the signature, and a digest among the parts, are written.
    #[serde(default)]
    pub encoding: Encoding,
    /// What is signed, in this order.
    pub parts: Vec<Part>,
    /// What stands between two parts.
    #[serde(default = "line_break")]
    pub separator: String,
    /// The header that the signature goes into.
    pub header: String,
    /// What stands in there: `{signature}`, `{key-id}` and `{timestamp}` are filled in.
    #[serde(default = "signature")]
    pub value: String,
    /// The header that says when it was signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<Timestamp>,
    /// The header that says whose key it is, where one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_id_header: Option<String>,
}

/// AWS Signature Version 4.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Sigv4 {
    /// The service that is signed for, such as `execute-api`.
    pub service: String,
    /// The region, where it is the same for everybody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Which label of the host is the region, counted from 0, where it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region_label: Option<u8>,
    /// Whether `x-amz-content-sha256` is sent, as S3 wants it.
    #[serde(default)]
    pub content_sha256_header: bool,
    /// Whether the path is signed as it is sent, as S3 wants it, and not encoded once more.
    #[serde(default)]
    pub path_as_sent: bool,
    /// Whether bodies are left out of the signature (`UNSIGNED-PAYLOAD`), which S3 takes: then they go through the proxy as
    /// they come. All others are held until they are there, up to `request-body-bytes-max`.
    #[serde(default)]
    pub unsigned_payload: bool,
}

/// A hash for an HMAC.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MacHash {
    /// SHA-256.
    #[default]
    Sha256,
    /// SHA-512.
    Sha512,
}

/// How bytes are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Encoding {
    /// Small digits.
    #[default]
    Hex,
    /// RFC 4648 section 4.
    Base64,
    /// RFC 4648 section 5, without padding.
    Base64Url,
}

/// What can be signed of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// In capitals.
    Method,
    /// With the port, where it is not 443.
    Host,
    /// As sent, without the query.
    Path,
    /// As sent, without the question mark.
    Query,
    /// As sent.
    PathAndQuery,
    /// Its bytes.
    Body,
    /// Their hash.
    BodyDigest,
    /// As the header has it.
    Timestamp,
    /// The id of the key.
    KeyId,
}

/// A header that says when a request was signed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Timestamp {
    /// Field name.
    pub header: String,
    /// How the time is written.
    #[serde(default)]
    pub format: TimeFormat,
}

/// How a time is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TimeFormat {
    /// Seconds since 1970.
    #[default]
    Unix,
    /// Milliseconds since 1970.
    UnixMs,
    /// To the second, in UTC.
    Rfc3339,
}

fn authorization() -> String {
    "Authorization".to_owned()
}

fn line_break() -> String {
    "\n".to_owned()
}

fn signature() -> String {
    "{signature}".to_owned()
}

/// RFC 9110 section 5.6.2.
pub(crate) fn token(text: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(letter)
}

fn visible(text: &str) -> bool {
    text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic())
}

// === impl TokenHeader ===

impl TokenHeader {
    pub(crate) fn check(&self, field: &str) -> Result<(), InvalidDescriptor> {
        if !token(&self.name) {
            return Err(invalid(format!("{field}.name"), "is not a token"));
        }
        if !visible(&self.prefix) {
            return Err(invalid(format!("{field}.prefix"), "is not printable ASCII"));
        }
        Ok(())
    }
}

// === impl Hmac ===

impl Hmac {
    /// Whether the body has to be there before it can be signed.
    pub fn signs_body(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Body | Part::BodyDigest))
    }

    /// Whether the key has an id.
    pub fn wants_key_id(&self) -> bool {
        self.key_id_header.is_some()
            || self.parts.contains(&Part::KeyId)
            || self.value.contains("{key-id}")
    }

    /// Every header that the host sets.
    pub fn headers(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let timestamp = self.timestamp.iter().map(|own| ("timestamp.header", own.header.as_str()));
        let key_id = self.key_id_header.iter().map(|name| ("key-id-header", name.as_str()));
        [("header", self.header.as_str())].into_iter().chain(timestamp).chain(key_id)
    }

    pub(crate) fn check(&self, field: &str) -> Result<(), InvalidDescriptor> {
        if self.parts.is_empty() {
            return Err(invalid(format!("{field}.parts"), "is empty"));
        }
        if let Some((name, _)) = self.headers().find(|(_, text)| !token(text)) {
            return Err(invalid(format!("{field}.{name}"), "is not a token"));
        }
        if !self.value.contains("{signature}") || !visible(&self.value) {
            return Err(invalid(
                format!("{field}.value"),
                "has no `{signature}`, or is not printable ASCII",
            ));
        }
        let timed = self.parts.contains(&Part::Timestamp) || self.value.contains("{timestamp}");
        if timed && self.timestamp.is_none() {
            return Err(invalid(format!("{field}.timestamp"), "is needed where the time is used"));
        }
        Ok(())
    }
}

// === impl Sigv4 ===

impl Sigv4 {
    /// The region of a host, if there is one.
    pub fn region_of<'a>(&'a self, host: &'a str) -> Option<&'a str> {
        match (&self.region, self.region_label) {
            (Some(region), _) => Some(region),
            (None, Some(label)) => host.split('.').nth(label.into()),
            (None, None) => None,
        }
    }

    pub(crate) fn check(&self, field: &str) -> Result<(), InvalidDescriptor> {
        // They stand in the scope of a signature, whose parts a slash ends.
        if !token(&self.service) {
            return Err(invalid(format!("{field}.service"), "is not a token"));
        }
        if self.region.is_some() == self.region_label.is_some() {
            return Err(invalid(
                format!("{field}.region"),
                "or `region-label` is needed, and not both",
            ));
        }
        if self.region.as_deref().is_some_and(|region| !token(region)) {
            return Err(invalid(format!("{field}.region"), "is not a token"));
        }
        Ok(())
    }
}
