//! What guests say, with what is secret by its name masked. What is secret by its value, they never see.

use std::borrow::Cow;

use keyway_core::Descriptor;
use keyway_core::ports::Redact;

use crate::{names, redact};

/// Masks what guests say.
#[derive(Clone, Copy, Debug, Default)]
pub struct Words;

impl Redact for Words {
    fn masked<'t>(&self, descriptor: &Descriptor, text: &'t str) -> Cow<'t, str> {
        let masked = redact::words(text, &|name| names::hides(name, Some(descriptor)));
        masked.map_or(Cow::Borrowed(text), Cow::Owned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connectors_own_names_are_masked_like_those_that_everybody_has() {
        let slots = r#"{"key":{"scheme":{"kind":"api-key-header","name":"X-Acme-Pass"}}}"#;
        let text = format!(r#"{{"format":1,"name":"a/b","version":"1.0.0","slots":{slots}}}"#);
        let descriptor = Descriptor::parse(&text).unwrap();
        let masked = |text: &str| Words.masked(&descriptor, text).into_owned();
        assert_eq!(masked("sent x-acme-pass: s3cret-value"), "sent x-acme-pass: [keyway:redacted]");
        assert_eq!(masked(r#"{"api_key":"1"}"#), r#"{"api_key":"[keyway:redacted]"}"#);
        let plain = "sent x-acme-other: s3cret-value";
        assert!(matches!(Words.masked(&descriptor, plain), Cow::Borrowed(same) if same == plain));
    }
}
