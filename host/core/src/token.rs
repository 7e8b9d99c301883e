//! How a token of a Keyway host looks, wherever it stands. What one may do, and whether it is good, is known to others.
//!
//! A token is `kw_` and 43 characters of base64url, so that secret scanners, and a host that passes things on, know one
//! when they see it.

/// How every token begins.
pub const PREFIX: &str = "kw_";

/// Letters of base64url behind it: 256 bits.
pub const LETTERS: usize = 43;

/// Bytes of a token.
pub const LENGTH: usize = PREFIX.len() + LETTERS;

/// Whether a token stands anywhere in a text: of this host or of another Keyway, good or not.
pub fn stands_in(text: &[u8]) -> bool {
    text.windows(LENGTH).any(is_like)
}

/// Whether it looks like a token, and is nothing else.
pub fn is_like(text: &[u8]) -> bool {
    let letters = text.strip_prefix(PREFIX.as_bytes());
    letters.is_some_and(|rest| rest.len() == LETTERS && rest.iter().copied().all(is_letter))
}

/// Whether a token may have this byte behind its prefix.
pub const fn is_letter(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_found_wherever_it_stands() {
        let token = "kw_AbCdEfGhIjKlMnOpQrStUvWxYz0123456789-_AbCdE";
        assert_eq!(token.len(), LENGTH);
        for text in [token.to_owned(), format!("kw_ {token}"), format!("user:{token}@x")] {
            assert!(stands_in(text.as_bytes()), "{text}");
        }
        for text in ["", "kw_", "kw_short", &token[1..], &token[..token.len() - 1]] {
            assert!(!stands_in(text.as_bytes()), "{text}");
        }
        assert!(is_like(token.as_bytes()) && !is_like(format!("{token}x").as_bytes()));
    }
}
