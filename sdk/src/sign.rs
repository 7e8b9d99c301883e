//! How the host signs requests with a key: parts of a descriptor.

use serde::Serialize;

/// An HMAC over parts of a request. SHA-256 in hex, a line break between parts, unless said otherwise.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Hmac {
    algorithm: Algorithm,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_encoding: Option<KeyEncoding>,
    encoding: Encoding,
    parts: Vec<Part>,
    separator: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    header: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    query: Option<String>,
    value: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_id_header: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nonce_header: Option<String>,
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
    #[serde(skip_serializing_if = "Vec::is_empty")]
    signed_headers: Vec<String>,
    unsigned_payload: bool,
}

/// A hash for an HMAC.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Algorithm {
    /// SHA-1, for a provider that knows no other.
    Sha1,
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

/// How a key is written. Unless stated, its letters are its bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyEncoding {
    /// RFC 4648 section 4 or 5, with padding or without.
    Base64,
    /// Digits, small or large.
    Hex,
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
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// In capitals.
    Method,
    /// With the port, where it is not 443.
    Host,
    /// As sent, without the query.
    Path,
    /// As sent, without the question mark; up to the signature, where that is in it.
    Query,
    /// As sent.
    PathAndQuery,
    /// Its bytes.
    Body,
    /// Their hash, written as the signature is.
    BodyDigest,
    /// How many bytes it has.
    BodyLength,
    /// As the request has it.
    Timestamp,
    /// As its header has it.
    Nonce,
    /// The id of the key.
    KeyId,
    /// The value of a header of this name; nothing where a request has none.
    Header(String),
    /// This text, such as the provider's own name of the scheme.
    Text(String),
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
    /// As HTTP has it: `Sun, 06 Nov 1994 08:49:37 GMT`.
    HttpDate,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
struct Timestamp {
    #[serde(skip_serializing_if = "Option::is_none")]
    header: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    query: Option<String>,
    format: TimeFormat,
}

// === impl Hmac ===

impl Hmac {
    /// Of these parts, in a header of this name.
    pub fn new(header: impl Into<String>, parts: impl IntoIterator<Item = Part>) -> Self {
        Self { header: Some(header.into()), ..Self::of(parts) }
    }

    /// Of these parts, in a query parameter of this name, behind all others. A query that is signed ends before it.
    pub fn in_query(name: impl Into<String>, parts: impl IntoIterator<Item = Part>) -> Self {
        Self { query: Some(name.into()), ..Self::of(parts) }
    }

    fn of(parts: impl IntoIterator<Item = Part>) -> Self {
        Self {
            algorithm: Algorithm::Sha256,
            key_encoding: None,
            encoding: Encoding::Hex,
            parts: parts.into_iter().collect(),
            separator: "\n".to_owned(),
            header: None,
            query: None,
            value: "{signature}".to_owned(),
            timestamp: None,
            key_id_header: None,
            nonce_header: None,
        }
    }

    /// With this hash.
    #[must_use]
    pub fn algorithm(mut self, algorithm: Algorithm) -> Self {
        self.algorithm = algorithm;
        self
    }

    /// With a key that is written so: what is signed with are the bytes that it stands for.
    #[must_use]
    pub fn key_encoding(mut self, encoding: KeyEncoding) -> Self {
        self.key_encoding = Some(encoding);
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

    /// What stands there: `{signature}`, `{key-id}`, `{timestamp}` and `{nonce}` are filled in.
    #[must_use]
    pub fn value(mut self, template: impl Into<String>) -> Self {
        self.value = template.into();
        self
    }

    /// With the time in a header of this name.
    #[must_use]
    pub fn timestamp(mut self, header: impl Into<String>, format: TimeFormat) -> Self {
        self.timestamp = Some(Timestamp { header: Some(header.into()), query: None, format });
        self
    }

    /// With the time in a query parameter of this name, behind those of the request.
    #[must_use]
    pub fn timestamp_query(mut self, name: impl Into<String>, format: TimeFormat) -> Self {
        self.timestamp = Some(Timestamp { header: None, query: Some(name.into()), format });
        self
    }

    /// With the key's id in a header of this name.
    #[must_use]
    pub fn key_id_header(mut self, name: impl Into<String>) -> Self {
        self.key_id_header = Some(name.into());
        self
    }

    /// With a value that no other request has in a header of this name: 32 digits by chance.
    #[must_use]
    pub fn nonce_header(mut self, name: impl Into<String>) -> Self {
        self.nonce_header = Some(name.into());
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

    /// With these headers signed where a request has them, beside `host`, `content-type` and all of AWS's own.
    #[must_use]
    pub fn signed_headers<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.signed_headers.extend(names.into_iter().map(Into::into));
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
            signed_headers: Vec::new(),
            unsigned_payload: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use keyway_core::descriptor as host;
    use serde_json::json;

    use super::*;

    /// Everything that can be stated of an HMAC.
    fn hmac(algorithm: Algorithm, encoding: Encoding, format: TimeFormat) -> Hmac {
        let parts = [
            Part::Method,
            Part::Host,
            Part::Path,
            Part::Query,
            Part::PathAndQuery,
            Part::Body,
            Part::BodyDigest,
            Part::BodyLength,
            Part::Timestamp,
            Part::Nonce,
            Part::KeyId,
            Part::Header("content-type".to_owned()),
            Part::Text("v1".to_owned()),
        ];
        Hmac::new("X-Sign", parts)
            .algorithm(algorithm)
            .encoding(encoding)
            .separator("|")
            .value("v1 {key-id} {timestamp} {nonce} {signature}")
            .timestamp("X-Time", format)
            .key_id_header("X-Key")
            .nonce_header("X-Nonce")
    }

    /// The host's own type reads what is written here, and writes the same again: neither side has a word that the other
    /// lacks, and none means something else there.
    #[test]
    fn the_host_reads_what_is_stated_as_it_is_written() {
        for (number, algorithm) in
            [Algorithm::Sha1, Algorithm::Sha256, Algorithm::Sha384, Algorithm::Sha512]
                .into_iter()
                .enumerate()
        {
            for encoding in [Encoding::Hex, Encoding::Base64, Encoding::Base64Url] {
                for format in [
                    TimeFormat::Unix,
                    TimeFormat::UnixMs,
                    TimeFormat::Rfc3339,
                    TimeFormat::HttpDate,
                ] {
                    let key = [KeyEncoding::Base64, KeyEncoding::Hex][number % 2];
                    let own = hmac(algorithm, encoding, format).key_encoding(key);
                    let own = serde_json::to_value(own).unwrap();
                    let read: host::Hmac = serde_json::from_value(own.clone()).unwrap();
                    assert_eq!(serde_json::to_value(&read).unwrap(), own);
                }
            }
        }
        let plain = serde_json::to_value(Hmac::new("X-Sign", [Part::Body])).unwrap();
        let read: host::Hmac = serde_json::from_value(plain).unwrap();
        let least = json!({"header": "X-Sign", "parts": ["body"]});
        assert_eq!(read, serde_json::from_value(least).unwrap(), "the same unless stated");
        let own = Hmac::in_query("signature", [Part::Query])
            .timestamp_query("timestamp", TimeFormat::UnixMs)
            .key_encoding(KeyEncoding::Hex)
            .key_id_header("X-Key");
        let own = serde_json::to_value(own).unwrap();
        let read: host::Hmac = serde_json::from_value(own.clone()).unwrap();
        assert_eq!(serde_json::to_value(&read).unwrap(), own);
        assert_eq!(
            read.parameters().map(|(_, name)| name).collect::<Vec<_>>(),
            ["signature", "timestamp"]
        );
        for own in [
            Sigv4::new("s3", "eu-west-1").like_s3().unsigned_payload().signed_headers(["range"]),
            Sigv4::of_host("execute-api", 2),
        ] {
            let own = serde_json::to_value(own).unwrap();
            let read: host::Sigv4 = serde_json::from_value(own.clone()).unwrap();
            assert_eq!(serde_json::to_value(&read).unwrap(), own);
        }
    }
}
