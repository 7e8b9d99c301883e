//! Types that hold a secret say nothing of it, and have no form in which they could.

use std::fmt::Display;

use keyway_core::credential::{Credential, Opened};
use secrecy::SecretString;
use serde::Serialize;
use static_assertions::assert_not_impl_any;

use super::*;
use crate::keys::transit::Transit;

assert_not_impl_any!(SecretKey: Display, Serialize, Clone);
assert_not_impl_any!(DataKey: Display, Serialize, Clone);
assert_not_impl_any!(KeyRing: Display, Serialize);
assert_not_impl_any!(Keys: Display, Serialize);
assert_not_impl_any!(Sealer: Display, Serialize);
assert_not_impl_any!(Transit: Display, Serialize);
assert_not_impl_any!(SecretString: Display, Serialize);
assert_not_impl_any!(Credential: Display, Serialize);
assert_not_impl_any!(Opened: Display, Serialize, Clone);
assert_not_impl_any!(crate::tokens::Issued: Display, Serialize);

/// Forms in which a key could be in a text.
fn forms(key: &[u8; 32]) -> [String; 4] {
    let hex = hex::encode(key);
    [hex.to_uppercase(), hex, STANDARD.encode(key), format!("{key:?}")]
}

#[tokio::test]
async fn debug_says_nothing_of_a_secret() {
    let store = store();
    let bytes = [0xa7; 32];
    let service = ring(&[("a", 0xa7)]);
    let keys = started(&store, Arc::clone(&service) as Arc<dyn KeyService>).await.unwrap();
    let data = keys.current(&Names::of("acme").owner()).await.unwrap();
    let secret = SecretKey::from_bytes(&bytes).unwrap();
    let wrapped = service.wrap(&secret, b"").await.unwrap();
    let texts = [
        format!("{secret:?} {secret:#?}"),
        format!("{data:?} {data:#?}"),
        format!("{service:?} {service:#?}"),
        format!("{keys:?} {keys:#?}"),
        format!("{:?} {:#?}", Sealer::new(keys.clone()), Sealer::new(keys.clone())),
        format!("{wrapped:?} {wrapped:#?}"),
        format!("{:?}", keys.status().await.unwrap()),
        format!(
            "{:?}",
            KeyRing::parse(&format!("current a {}x", STANDARD.encode(bytes))).unwrap_err()
        ),
        format!("{:?}", Engine::new().service()),
    ];
    let own: [[u8; 32]; 2] = [bytes, *data.secret.expose()];
    for text in texts {
        for form in own.iter().flat_map(forms) {
            assert!(!text.contains(&form[..12]), "{form} in {text}");
        }
        assert!(!text.contains("canary"), "{text}");
    }
}

#[test]
fn credentials_say_nothing_of_themselves() {
    let secret = || SecretString::from("canary-of-a-credential");
    let texts = [
        format!("{:?}", Credential::Token(secret())),
        format!("{:?}", Credential::Basic { user: secret(), password: secret() }),
        format!("{:?}", Credential::Session { id: secret(), key: secret(), token: secret() }),
        format!("{:?}", Opened::new(Credential::Token(secret()))),
        format!("{:?}", SecretInput::Token(secret())),
        format!("{:?}", SecretInput::Basic { user: secret(), password: secret() }),
        format!("{:#?}", SecretInput::Basic { user: secret(), password: secret() }),
        format!("{:?}", SecretInput::Session { id: secret(), key: secret(), token: secret() }),
    ];
    for text in texts {
        assert!(!text.contains("canary"), "{text}");
    }
}
