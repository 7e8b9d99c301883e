//! How requests are signed, and where a token stands that is not put where tokens usually are: facts about a provider, as a
//! descriptor states them.

use data_encoding::{BASE64_NOPAD, BASE64URL_NOPAD};
use serde::{Deserialize, Serialize};

use crate::descriptor::{InvalidDescriptor, invalid};

/// The headers that a signature of AWS brings along, beside `Authorization`.
pub(crate) const AWS_HEADERS: [&str; 3] =
    ["x-amz-date", "x-amz-content-sha256", "x-amz-security-token"];

/// Headers that are set or changed behind a signature.
const UNSIGNED_HEADERS: [&str; 5] =
    ["authorization", "connection", "expect", "transfer-encoding", "user-agent"];

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
    /// How the key is written: what is signed with are the bytes that it stands for.
    #[serde(default)]
    pub key_encoding: KeyEncoding,
    /// How the signature, and a digest among the parts, are written.
    #[serde(default)]
    pub encoding: Encoding,
    /// What is signed, in this order.
    pub parts: Vec<Part>,
    /// What stands between two parts.
    #[serde(default = "line_break")]
    pub separator: String,
    /// The header that the signature goes into.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
    /// The query parameter that it goes into instead, behind all others, which it may be of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// What stands in there: `{signature}`, `{key-id}`, `{timestamp}` and `{nonce}` are filled in.
    #[serde(default = "signature")]
    pub value: String,
    /// What says when it was signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<Timestamp>,
    /// The header that says whose key it is, where one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_id_header: Option<String>,
    /// The header for a value that no other request has: 32 digits by chance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nonce_header: Option<String>,
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
    /// Headers that are signed where a request has them, beside `host`, `content-type` and all of AWS's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signed_headers: Vec<String>,
    /// Whether bodies are left out of the signature (`UNSIGNED-PAYLOAD`), which S3 takes: then they go through the proxy as
    /// they come. All others are held until they are there, up to `request-body-bytes-max`.
    #[serde(default)]
    pub unsigned_payload: bool,
}

/// A hash for an HMAC.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MacHash {
    /// SHA-1, for a provider that knows no other. Nobody has forged an HMAC with it.
    Sha1,
    /// SHA-256.
    #[default]
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

/// How a key is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyEncoding {
    /// Its letters are its bytes.
    #[default]
    Text,
    /// RFC 4648 section 4 or 5, with padding or without.
    Base64,
    /// Digits, small or large.
    Hex,
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
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// In capitals.
    Method,
    /// With the port, where it is not 443.
    Host,
    /// As sent, without the query.
    Path,
    /// As sent, without the question mark; without the signature, where that is a part of it.
    Query,
    /// Likewise.
    PathAndQuery,
    /// Its bytes.
    Body,
    /// Their hash.
    BodyDigest,
    /// How many there are.
    BodyLength,
    /// As the request has it.
    Timestamp,
    /// As the header has it.
    Nonce,
    /// The id of the key.
    KeyId,
    /// The value of a header of this name, without white space around it; nothing where a request has none.
    Header(String),
    /// This text, such as the provider's own name of the scheme.
    Text(String),
}

/// A header, or a query parameter, that says when a request was signed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Timestamp {
    /// Field name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
    /// Name of the parameter that it is instead. It stands behind those of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
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
    /// As HTTP has it (RFC 9110 section 5.6.7), such as `Sun, 06 Nov 1994 08:49:37 GMT`.
    HttpDate,
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

// === impl KeyEncoding ===

impl KeyEncoding {
    /// The bytes of a key; none where it is not written so, or has no bytes.
    pub fn bytes(self, text: &str) -> Option<Vec<u8>> {
        let bytes = match self {
            Self::Text => text.as_bytes().to_vec(),
            Self::Hex => hex::decode(text).ok()?,
            Self::Base64 => {
                // Padding comes and goes as people copy it.
                let text = text.trim_end_matches('=');
                let url = text.contains(['-', '_']);
                let alphabet = if url { BASE64URL_NOPAD } else { BASE64_NOPAD };
                alphabet.decode(text.as_bytes()).ok()?
            }
        };
        Some(bytes).filter(|bytes| !bytes.is_empty())
    }
}

// === impl Hmac ===

impl Hmac {
    /// Whether the body has to be there before it can be signed.
    pub fn signs_body(&self) -> bool {
        let of_body =
            |part: &Part| matches!(part, Part::Body | Part::BodyDigest | Part::BodyLength);
        self.parts.iter().any(of_body)
    }

    /// Whether the key has an id.
    pub fn wants_key_id(&self) -> bool {
        self.key_id_header.is_some()
            || self.parts.contains(&Part::KeyId)
            || self.value.contains("{key-id}")
    }

    /// Every header that the host sets.
    pub fn headers(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let timestamp = self.timestamp.iter().flat_map(|own| &own.header);
        let timestamp = timestamp.map(|name| ("timestamp.header", name.as_str()));
        let key_id = self.key_id_header.iter().map(|name| ("key-id-header", name.as_str()));
        let nonce = self.nonce_header.iter().map(|name| ("nonce-header", name.as_str()));
        let signature = self.header.iter().map(|name| ("header", name.as_str()));
        signature.chain(timestamp).chain(key_id).chain(nonce)
    }

    /// Every query parameter that the host sets.
    pub fn parameters(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let timestamp = self.timestamp.iter().flat_map(|own| &own.query);
        let timestamp = timestamp.map(|name| ("timestamp.query", name.as_str()));
        self.query.iter().map(|name| ("query", name.as_str())).chain(timestamp)
    }

    /// That each value has one place, and that the places are apart.
    fn check_places(&self, field: &str) -> Result<(), InvalidDescriptor> {
        let one = |name: &str, header: &Option<String>, query: &Option<String>| match header
            .is_some()
            == query.is_some()
        {
            true => Err(invalid(name, "is in a `header` or in the `query`, and not in both")),
            false => Ok(()),
        };
        one(field, &self.header, &self.query)?;
        if let Some(timestamp) = &self.timestamp {
            one(&format!("{field}.timestamp"), &timestamp.header, &timestamp.query)?;
        }
        let names = || self.headers().chain(self.parameters());
        if let Some((name, _)) = names().find(|(_, text)| !token(text)) {
            return Err(invalid(format!("{field}.{name}"), "is not a token"));
        }
        let mut parameters = self.parameters().map(|(_, name)| name);
        if let (Some(one), Some(two)) = (parameters.next(), parameters.next())
            && one.eq_ignore_ascii_case(two)
        {
            return Err(invalid(format!("{field}.timestamp.query"), "is the signature's"));
        }
        Ok(())
    }

    pub(crate) fn check(&self, field: &str) -> Result<(), InvalidDescriptor> {
        if self.parts.is_empty() {
            return Err(invalid(format!("{field}.parts"), "is empty"));
        }
        self.check_places(field)?;
        if !self.value.contains("{signature}") || !visible(&self.value) {
            return Err(invalid(
                format!("{field}.value"),
                "has no `{signature}`, or is not printable ASCII",
            ));
        }
        let uses = |part: Part, name: &str| self.parts.contains(&part) || self.value.contains(name);
        if uses(Part::Timestamp, "{timestamp}") && self.timestamp.is_none() {
            return Err(invalid(format!("{field}.timestamp"), "is needed where the time is used"));
        }
        if uses(Part::Nonce, "{nonce}") && self.nonce_header.is_none() {
            return Err(invalid(
                format!("{field}.nonce-header"),
                "is needed where a nonce is used",
            ));
        }
        let named = |part: &Part| matches!(part, Part::Header(name) if !token(name));
        if self.parts.iter().any(named) {
            return Err(invalid(format!("{field}.parts"), "has a header whose name is no token"));
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
        // A proxy, or the library beneath, may change these on the way, and nobody would take the signature.
        let fixed = |name: &String| {
            token(name) && !UNSIGNED_HEADERS.contains(&name.to_ascii_lowercase().as_str())
        };
        if !self.signed_headers.iter().all(fixed) {
            let problem =
                format!("has what is no token, or one of {}", UNSIGNED_HEADERS.join(", "));
            return Err(invalid(format!("{field}.signed-headers"), problem));
        }
        Ok(())
    }
}
