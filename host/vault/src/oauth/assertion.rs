//! What a connection's own key signs for a token (RFC 7523): made for one request, and good for minutes.
//!
//! The key is kept with the connection's tokens, and goes nowhere: what is sent is the signature.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use keyway_core::descriptor::{Algorithm, Assertion, Oauth};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use time::OffsetDateTime;
use zeroize::Zeroizing;

use crate::facts::Facts;
use crate::oauth::client::Client;

/// What an assertion speaks of.
pub(crate) struct Stated<'a> {
    pub(crate) facts: &'a Facts,
    pub(crate) user: Option<&'a str>,
    pub(crate) scopes: &'a [String],
    pub(crate) now: OffsetDateTime,
}

/// A signing key, read.
enum Key {
    Rsa(RsaKeyPair),
    Ec(EcdsaKeyPair),
}

/// Whether a text is a key that this algorithm signs with.
pub(crate) fn is_key(pem: &SecretString, algorithm: Algorithm) -> bool {
    Key::read(pem, algorithm).is_some()
}

/// Makes and signs an assertion.
pub(crate) fn sign(
    oauth: &Oauth,
    client: &Client,
    stated: &Stated<'_>,
) -> Result<SecretString, String> {
    let assertion = oauth.assertion.as_ref().ok_or("states nothing to be signed")?;
    let secret = client.secret.as_ref().ok_or("needs a key to sign with")?;
    let key = Key::read(secret, assertion.algorithm).ok_or("has a key that cannot sign so")?;
    let said = oauth.said(stated.facts, stated.user)?.ok_or("states nothing to be signed")?;
    let mut claims: serde_json::Map<_, _> =
        said.claims.into_iter().map(|(name, value)| (name, value.into())).collect();
    let issued = stated.now.unix_timestamp();
    claims.insert("iss".to_owned(), client.id.clone().into());
    claims.insert("aud".to_owned(), said.audience.into());
    claims.insert("iat".to_owned(), issued.into());
    claims.insert("exp".to_owned(), (issued + i64::from(assertion.lifetime)).into());
    claims.insert("jti".to_owned(), format!("{:032x}", rand::random::<u128>()).into());
    if let Some(subject) = said.subject {
        claims.insert("sub".to_owned(), subject.into());
    }
    if assertion.scope_claim && !stated.scopes.is_empty() {
        let scopes = stated.scopes.join(&oauth.scope_separator);
        claims.insert("scope".to_owned(), scopes.into());
    }
    let message = format!("{}.{}", part(&head(assertion, client)?), part(&claims.into()));
    let signature = key.sign(message.as_bytes()).ok_or("could not be signed")?;
    Ok(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)).into())
}

/// RFC 7515 section 4.1.
fn head(assertion: &Assertion, client: &Client) -> Result<Value, String> {
    let name = match assertion.algorithm {
        Algorithm::RS256 => "RS256",
        Algorithm::ES256 => "ES256",
    };
    match &client.key_id {
        Some(id) => Ok(json!({"alg": name, "kid": id, "typ": "JWT"})),
        None if assertion.key_id => Err("needs the id of the key that signs".to_owned()),
        None => Ok(json!({"alg": name, "typ": "JWT"})),
    }
}

fn part(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

// === impl Key ===

impl Key {
    /// Of a PEM text (RFC 7468): PKCS #8, or PKCS #1 for RSA.
    fn read(pem: &SecretString, algorithm: Algorithm) -> Option<Self> {
        let text = pem.expose_secret();
        let (_, text) = text.split_once("-----BEGIN ")?;
        let (label, text) = text.split_once("-----")?;
        let (body, _) = text.split_once("-----END ")?;
        let mut body64 = Zeroizing::new(String::with_capacity(body.len()));
        body64.extend(body.chars().filter(|letter| !letter.is_whitespace()));
        let der = Zeroizing::new(STANDARD.decode(body64.as_bytes()).ok()?);
        match (algorithm, label) {
            (Algorithm::RS256, "PRIVATE KEY") => RsaKeyPair::from_pkcs8(&der).ok().map(Self::Rsa),
            (Algorithm::RS256, "RSA PRIVATE KEY") => RsaKeyPair::from_der(&der).ok().map(Self::Rsa),
            (Algorithm::ES256, "PRIVATE KEY") => {
                EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &der).ok().map(Self::Ec)
            }
            _ => None,
        }
    }

    fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        let random = SystemRandom::new();
        match self {
            Self::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).ok()?;
                Some(signature)
            }
            Self::Ec(key) => Some(key.sign(&random, message).ok()?.as_ref().to_vec()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, KeyPair as _, UnparsedPublicKey};

    fn pem() -> (SecretString, Vec<u8>) {
        let random = SystemRandom::new();
        let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let public =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key.as_ref()).unwrap();
        let body = STANDARD.encode(key.as_ref());
        let pem = format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n");
        (pem.into(), public.public_key().as_ref().to_vec())
    }

    #[test]
    fn an_assertion_says_what_the_release_states_and_is_signed_by_the_key() {
        let oauth: Oauth = serde_json::from_value(json!({
            "grant": "jwt-bearer", "token-url": "https://login.example.com/token",
            "variables": {"username": {"text": true}, "place": {}},
            "assertion": {"algorithm": "ES256", "subject": "{username}", "audience": "https://{place}.example.com",
                "lifetime": 180, "scope-claim": true, "key-id": true,
                "claims": {"box_sub_type": "enterprise", "place": "at {place}"}},
        }))
        .unwrap();
        let (key, public) = pem();
        let key_id = Some("key-7".to_owned());
        let client = Client { id: "consumer".to_owned(), secret: Some(key), key_id };
        let facts = [("username", "ann@example.com"), ("place", "login")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
        let scopes = ["read".to_owned(), "write".to_owned()];
        let now = time::macros::datetime!(2026-03-01 12:00 UTC);
        let stated = Stated { facts: &facts, user: None, scopes: &scopes, now };
        let signed = sign(&oauth, &client, &stated).unwrap();
        let (message, signature) = signed.expose_secret().rsplit_once('.').unwrap();
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, public)
            .verify(message.as_bytes(), &signature)
            .unwrap();
        let (head, claims) = message.split_once('.').unwrap();
        let read = |part: &str| -> Value {
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
        };
        assert_eq!(read(head), json!({"alg": "ES256", "kid": "key-7", "typ": "JWT"}));
        let mut claims = read(claims);
        assert!(claims["jti"].take().as_str().is_some_and(|id| id.len() == 32));
        let expected = json!({
            "iss": "consumer", "sub": "ann@example.com", "aud": "https://login.example.com",
            "iat": 1_772_366_400, "exp": 1_772_366_580, "scope": "read write",
            "box_sub_type": "enterprise", "place": "at login", "jti": null,
        });
        assert_eq!(claims, expected);
        // A key of the other kind, and what is no key.
        assert!(!is_key(client.secret.as_ref().unwrap(), Algorithm::RS256));
        assert!(!is_key(&"secret".into(), Algorithm::ES256));
        let none = Stated { facts: &Facts::new(), user: None, scopes: &[], now };
        assert!(sign(&oauth, &client, &none).unwrap_err().contains("a value for"));
        let nameless = Client { key_id: None, ..client };
        assert!(sign(&oauth, &nameless, &stated).unwrap_err().contains("id of the key"));
    }

    /// What `openssl` says, with its standard input.
    fn openssl(args: &[&str], input: &str) -> Vec<u8> {
        use std::io::Write as _;
        use std::process::{Command, Stdio};
        let (stdin, stdout) = (Stdio::piped(), Stdio::piped());
        let mut child = Command::new("openssl")
            .args(args)
            .stdin(stdin)
            .stdout(stdout)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let done = child.wait_with_output().unwrap();
        assert!(done.status.success(), "{args:?}");
        done.stdout
    }

    /// By another library: a key of openssl's own making, in both forms that there are, and what it signs with it.
    #[test]
    fn a_key_of_rsa_signs_as_openssl_does() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key.pem");
        let path = file.to_str().unwrap();
        let rsa = ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", path];
        openssl(&[&["genpkey"], &rsa[..]].concat(), "");
        let text = "what is signed";
        let expected = openssl(&["dgst", "-sha256", "-sign", path, "-binary"], text);
        let traditional = openssl(&["rsa", "-traditional", "-in", path], "");
        for (pem, label) in [
            (std::fs::read(&file).unwrap(), "BEGIN PRIVATE KEY"),
            (traditional, "BEGIN RSA PRIVATE KEY"),
        ] {
            let pem = String::from_utf8(pem).unwrap();
            assert!(pem.contains(label));
            let pem = SecretString::from(pem);
            assert!(is_key(&pem, Algorithm::RS256) && !is_key(&pem, Algorithm::ES256));
            let signed = Key::read(&pem, Algorithm::RS256).unwrap().sign(text.as_bytes()).unwrap();
            assert_eq!(signed, expected, "{label}");
        }
    }
}
