//! A secret in the clear, and how long what is made of it lives: no longer than the secret.
//!
//! Where secrets are kept, and how they get open, is the business of whoever implements
//! [`Credentials`](crate::ports::Credentials).

use std::any::Any;
use std::fmt;
use std::sync::OnceLock;

use secrecy::SecretString;

/// A secret as the broker puts it on a request.
#[derive(Clone, Debug)]
pub enum Credential {
    /// The slot takes none.
    None,
    /// A bearer token or an API key.
    Token(SecretString),
    /// A user and a password.
    Basic {
        /// Some providers take an API key here, so it is kept and scrubbed like a secret.
        user: SecretString,
        /// May be empty where the user is the secret.
        password: SecretString,
    },
    /// A key that signs for as long as a session lasts.
    Session {
        /// What the provider calls the key.
        id: SecretString,
        /// Signs, and is sent nowhere.
        key: SecretString,
        /// Sent with each signature.
        token: SecretString,
    },
}

/// A credential that is open, shared by all who use it at the same time. With the last of them it is gone, and so is what
/// was made of it.
pub struct Opened {
    credential: Credential,
    made: OnceLock<Box<dyn Any + Send + Sync>>,
}

// === impl Opened ===

impl Opened {
    /// Of this secret.
    pub fn new(credential: Credential) -> Self {
        Self { credential, made: OnceLock::new() }
    }

    /// The secret.
    pub fn credential(&self) -> &Credential {
        &self.credential
    }

    /// What `make` makes of the secret, such as a header, and what finds it in an answer. The first thing made is kept;
    /// it is had again by whoever it `fits`, and everybody else gets something of their own.
    pub fn made<T>(
        &self,
        fits: impl FnOnce(&T) -> bool,
        make: impl FnOnce(&Credential) -> Option<T>,
    ) -> Option<T>
    where
        T: Clone + Send + Sync + 'static,
    {
        let kept = self.made.get().and_then(|made| made.downcast_ref::<T>());
        if let Some(kept) = kept.filter(|kept| fits(kept)) {
            return Some(kept.clone());
        }
        let made = make(&self.credential)?;
        self.made.get_or_init(|| Box::new(made.clone()));
        Some(made)
    }
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opened").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn what_fits_is_made_once_and_goes_with_the_secret() {
        let opened = Opened::new(Credential::Token("t0ken".to_owned().into()));
        let made = |wanted: u8| {
            opened.made(|kept: &Arc<u8>| **kept == wanted, |_| Some(Arc::new(wanted))).unwrap()
        };
        let first = made(1);
        assert!(Arc::ptr_eq(&first, &made(1)));
        assert_eq!(*made(2), 2, "who it does not fit gets another");
        assert!(Arc::ptr_eq(&first, &made(1)), "and the first stays");
        let left = Arc::downgrade(&first);
        drop(first);
        assert!(left.upgrade().is_some());
        assert_eq!(format!("{opened:?}"), "Opened { .. }");
        drop(opened);
        assert!(left.upgrade().is_none());
    }

    #[test]
    fn what_cannot_be_made_is_not_kept() {
        let opened = Opened::new(Credential::None);
        assert_eq!(opened.made(|_: &u8| true, |_| None), None);
        assert_eq!(opened.made(|_: &u8| true, |_| Some(7)), Some(7));
    }
}
