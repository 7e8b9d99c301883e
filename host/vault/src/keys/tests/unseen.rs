//! Types that hold a secret say nothing of it, and have no form in which they could.

use std::fmt::Display;

use keyway_core::credential::{Credential, Opened};
use secrecy::SecretString;
use serde::Serialize;

use super::*;
use crate::keys::transit::Transit;

/// Does not compile if a type has a trait: two ways to call one function would then be possible.
macro_rules! lacks {
    ($($type:ty: $trait:path),* $(,)?) => {
        $({
            trait Either<Way> {
                fn call() {}
            }
            struct Has;
            impl<T: ?Sized> Either<()> for T {}
            impl<T: ?Sized + $trait> Either<Has> for T {}
            <$type as Either<_>>::call();
        })*
    };
}

#[test]
fn types_with_secrets_have_no_text_form() {
    lacks! {
        SecretKey: Display, SecretKey: Serialize, SecretKey: Clone,
        DataKey: Display, DataKey: Serialize, DataKey: Clone,
        KeyRing: Display, KeyRing: Serialize,
        Keys: Display, Keys: Serialize,
        Sealer: Display, Sealer: Serialize,
        Transit: Display, Transit: Serialize,
        SecretString: Display, SecretString: Serialize,
        Credential: Display, Credential: Serialize,
        Opened: Display, Opened: Serialize, Opened: Clone,
        crate::tokens::Issued: Display, crate::tokens::Issued: Serialize,
    }
}

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
        format!("{:?}", Opened::new(Credential::Token(secret()))),
        format!("{:?}", SecretInput::Token(secret())),
        format!("{:?}", SecretInput::Basic { user: secret(), password: secret() }),
        format!("{:#?}", SecretInput::Basic { user: secret(), password: secret() }),
    ];
    for text in texts {
        assert!(!text.contains("canary"), "{text}");
    }
}
