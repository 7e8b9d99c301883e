//! How the host signs requests with a key: parts of a descriptor.

use serde::Serialize;

/// An HMAC over parts of a request. SHA-256 in hex, a line break between parts, unless said otherwise.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Hmac {
    algorithm: Algorithm,
    encoding: Encoding,
    parts: Vec<Part>,
    separator: String,
    header: String,
    value: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_id_header: Option<String>,
}

/// AWS Signature Version 4.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Sigv4 {
    service: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    region: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    region_label: Option<u8>,
    content_sha256_header: bool,
    path_as_sent: bool,
    unsigned_payload: bool,
}

/// A hash for an HMAC.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Algorithm {
    /// SHA-256.
    Sha256,
    /// SHA-512.
    Sha512,
}

/// How a signature is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Encoding {
    /// Small digits.
    Hex,
    /// RFC 4648 section 4.
    Base64,
    /// RFC 4648 section 5, without padding.
    Base64Url,
}

/// What is signed of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
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
    /// Their hash, written as the signature is.
    BodyDigest,
    /// As its header has it.
    Timestamp,
    /// The id of the key.
    KeyId,
}

/// How the time of a signature is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum TimeFormat {
    /// Seconds since 1970.
    Unix,
    /// Milliseconds since 1970.
    UnixMs,
    /// To the second, in UTC.
    Rfc3339,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
struct Timestamp {
    header: String,
    format: TimeFormat,
}

// === impl Hmac ===

impl Hmac {
    /// Of these parts, in a header of this name.
    pub fn new(header: impl Into<String>, parts: impl IntoIterator<Item = Part>) -> Self {
        Self {
            algorithm: Algorithm::Sha256,
            encoding: Encoding::Hex,
            parts: parts.into_iter().collect(),
            separator: "\n".to_owned(),
            header: header.into(),
            value: "{signature}".to_owned(),
            timestamp: None,
            key_id_header: None,
        }
    }

    /// With this hash.
    #[must_use]
    pub fn algorithm(mut self, algorithm: Algorithm) -> Self {
        self.algorithm = algorithm;
        self
    }

    /// Written so.
    #[must_use]
    pub fn encoding(mut self, encoding: Encoding) -> Self {
        self.encoding = encoding;
        self
    }

    /// With this between two parts.
    #[must_use]
    pub fn separator(mut self, separator: impl Into<String>) -> Self {
        self.separator = separator.into();
        self
    }

    /// What stands in the header: `{signature}`, `{key-id}` and `{timestamp}` are filled in.
    #[must_use]
    pub fn value(mut self, template: impl Into<String>) -> Self {
        self.value = template.into();
        self
    }

    /// With the time in a header of this name.
    #[must_use]
    pub fn timestamp(mut self, header: impl Into<String>, format: TimeFormat) -> Self {
        self.timestamp = Some(Timestamp { header: header.into(), format });
        self
    }

    /// With the key's id in a header of this name.
    #[must_use]
    pub fn key_id_header(mut self, name: impl Into<String>) -> Self {
        self.key_id_header = Some(name.into());
        self
    }
}

// === impl Sigv4 ===

impl Sigv4 {
    /// For a service in one region.
    pub fn new(service: impl Into<String>, region: impl Into<String>) -> Self {
        Self { region: Some(region.into()), ..Self::of(service.into()) }
    }

    /// For a service whose hosts have the region as their label of this number, counted from 0.
    pub fn of_host(service: impl Into<String>, region_label: u8) -> Self {
        Self { region_label: Some(region_label), ..Self::of(service.into()) }
    }

    /// As S3 wants it: `x-amz-content-sha256`, and paths as they are sent.
    #[must_use]
    pub fn like_s3(mut self) -> Self {
        (self.content_sha256_header, self.path_as_sent) = (true, true);
        self
    }

    /// Without the bodies, which then go through the proxy as they come. S3 takes that.
    #[must_use]
    pub fn unsigned_payload(mut self) -> Self {
        self.unsigned_payload = true;
        self
    }

    fn of(service: String) -> Self {
        Self {
            service,
            region: None,
            region_label: None,
            content_sha256_header: false,
            path_as_sent: false,
            unsigned_payload: false,
        }
    }
}
