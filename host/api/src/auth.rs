//! Who asks, and whether they may.
//!
//! Checking a token reads the store once; after that the token is known here until it is revoked, its
//! time is over, or room is needed. Tokens are revoked through this process, which forgets them at
//! once; a second host on the same store would need to hear of it, and that is not built.
//!
//! A token is bound to environments, never to a tenant: the tenant in a body, as in a line of an import, has none in the
//! token that it could differ from (C91).
//!
//! **Invariant:** a token whose revocation was answered is never accepted again.

use std::sync::{Arc, PoisonError, RwLock};

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use foldhash::HashMap;
use keyway_core::ids::{Actor, Environment};
use keyway_core::ports::Clock;
use keyway_core::{Code, Digest, Fault};
use keyway_vault::Tokens;
use keyway_vault::model::{Role, Token};

use crate::contract::Access;

/// Tokens known at once. Beyond it all are forgotten and looked up again: a host with more tokens in
/// use within moments has other worries.
const KNOWN_MAX: usize = 10_000;

/// Checks tokens.
pub(crate) struct Auth {
    tokens: Tokens,
    clock: Arc<dyn Clock>,
    known: RwLock<Known>,
}

#[derive(Default)]
struct Known {
    /// Counts up with each revocation: what was looked up before one is not kept after it.
    epoch: u64,
    tokens: HashMap<Digest, Arc<Token>>,
}

/// Who asks.
#[derive(Clone, Debug)]
pub(crate) struct Identity(Arc<Token>);

// === impl Auth ===

impl Auth {
    pub(crate) fn new(tokens: Tokens, clock: Arc<dyn Clock>) -> Self {
        Self { tokens, clock, known: RwLock::default() }
    }

    /// Who sent a request with these headers.
    pub(crate) async fn identify(&self, headers: &HeaderMap) -> Result<Identity, Fault> {
        let secret = bearer(headers)?;
        let hash = Digest::of(secret.as_bytes());
        let (epoch, known) = {
            let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
            (known.epoch, known.tokens.get(&hash).cloned())
        };
        match known {
            Some(token) if token.expires_at.is_none_or(|at| self.clock.now() < at) => {
                Ok(Identity(token))
            }
            // Expired ones go the long way, where they are refused.
            _ => self.look_up(secret, hash, epoch).await,
        }
    }

    async fn look_up(&self, secret: &str, hash: Digest, epoch: u64) -> Result<Identity, Fault> {
        let token = Arc::new(self.tokens.check(secret).await?);
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.keep(epoch, hash, &token);
        Ok(Identity(token))
    }

    /// The tokens there are.
    pub(crate) fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    /// Ends a token. Must run to its end: see [`crate::handlers::finish`].
    pub(crate) async fn revoke(&self, name: &Actor, actor: &Actor) -> Result<(), Fault> {
        let revoked = self.tokens.revoke(name, actor).await;
        // Even if it failed: the store may have taken it and not been able to say so.
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.forget();
        revoked
    }
}

/// The bearer token of a request (RFC 6750 section 2.1; the scheme's case does not matter).
fn bearer(headers: &HeaderMap) -> Result<&str, Fault> {
    let missing = || Fault::new(Code::TokenMissing, "`authorization: Bearer …` is needed");
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next().ok_or_else(missing)?;
    if values.next().is_some() {
        return Err(Fault::new(Code::TokenInvalid, "`authorization` is there twice"));
    }
    let text = value.to_str().unwrap_or_default();
    let (scheme, token) = text.split_once(' ').unwrap_or((text, ""));
    let token = token.trim();
    if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() {
        return Err(missing());
    }
    Ok(token)
}

// === impl Known ===

impl Known {
    /// Keeps a token that was looked up in this epoch.
    fn keep(&mut self, epoch: u64, hash: Digest, token: &Arc<Token>) {
        if self.epoch != epoch {
            return;
        }
        if self.tokens.len() >= KNOWN_MAX {
            self.tokens.clear();
        }
        self.tokens.insert(hash, Arc::clone(token));
    }

    fn forget(&mut self) {
        self.epoch += 1;
        self.tokens.clear();
    }
}

// === impl Identity ===

impl Identity {
    /// The name to write down.
    pub(crate) fn actor(&self) -> &Actor {
        &self.0.name
    }

    /// For whom it may publish; none means for everyone.
    pub(crate) fn publisher(&self) -> Option<&str> {
        self.0.publisher.as_deref()
    }

    /// Whether the token covers an environment.
    pub(crate) fn covers(&self, environment: &Environment) -> bool {
        self.0.environments.as_ref().is_none_or(|covered| covered.contains(environment))
    }

    /// Refuses what the role, or the environments of the token, do not cover.
    pub(crate) fn check(
        &self,
        access: Access,
        environment: Option<&Environment>,
    ) -> Result<(), Fault> {
        let refuse = |detail: String| Err(Fault::new(Code::NotPermitted, detail));
        if !role_allows(self.0.role, access) {
            return refuse(format!("the role of token `{}` does not allow this", self.0.name));
        }
        match environment {
            Some(environment) if !self.covers(environment) => {
                refuse(format!("token `{}` does not cover this environment", self.0.name))
            }
            // Looking shows nothing of an environment here, or only what the token covers.
            None if matches!(access, Access::View | Access::Metrics) => Ok(()),
            None if self.0.environments.is_some() => {
                refuse("this is of all environments, and the token covers only some".to_owned())
            }
            _ => Ok(()),
        }
    }
}

fn role_allows(role: Role, access: Access) -> bool {
    match access {
        Access::Open | Access::Metrics | Access::View => true,
        Access::Publish => matches!(role, Role::Publisher | Role::Admin),
        Access::Operate => matches!(role, Role::Operator | Role::Admin),
        Access::Administer => role == Role::Admin,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(values: &[&str]) -> HeaderMap {
        values.iter().map(|value| (AUTHORIZATION, value.parse().unwrap())).collect()
    }

    #[test]
    fn reads_one_bearer_token() {
        assert_eq!(bearer(&headers(&["Bearer kw_x"])).unwrap(), "kw_x");
        assert_eq!(bearer(&headers(&["bearer  kw_x "])).unwrap(), "kw_x");
        for missing in [&[][..], &["Bearer"], &["Bearer "], &["Basic abc"], &["kw_x"]] {
            let fault = bearer(&headers(missing)).unwrap_err();
            assert_eq!(fault.code, Code::TokenMissing, "{missing:?}");
        }
        let twice = bearer(&headers(&["Bearer a", "Bearer b"])).unwrap_err();
        assert_eq!(twice.code, Code::TokenInvalid);
    }

    fn token() -> Arc<Token> {
        Arc::new(Token {
            name: "ann".parse().unwrap(),
            hash: Digest::of(b"x"),
            role: Role::Viewer,
            environments: None,
            publisher: None,
            expires_at: None,
            at: time::OffsetDateTime::UNIX_EPOCH,
        })
    }

    #[test]
    fn what_was_looked_up_before_a_revocation_is_not_kept_after_it() {
        let mut known = Known::default();
        let epoch = known.epoch;
        known.forget();
        known.keep(epoch, Digest::of(b"x"), &token());
        assert!(known.tokens.is_empty());
        known.keep(known.epoch, Digest::of(b"x"), &token());
        assert_eq!(known.tokens.len(), 1);
    }

    #[test]
    fn known_tokens_are_bounded() {
        let (mut known, token) = (Known::default(), token());
        let mut keep = |number: usize| {
            known.keep(0, Digest::of(&number.to_be_bytes()), &token);
            known.tokens.len()
        };
        assert_eq!((0..KNOWN_MAX).map(&mut keep).last(), Some(KNOWN_MAX));
        assert_eq!(keep(KNOWN_MAX), 1);
    }

    #[test]
    fn roles_allow_what_the_contract_says() {
        use Access::{Administer, Metrics, Operate, Publish, View};
        let allowed = |role| {
            [View, Metrics, Publish, Operate, Administer].map(|access| role_allows(role, access))
        };
        assert_eq!(allowed(Role::Viewer), [true, true, false, false, false]);
        assert_eq!(allowed(Role::Publisher), [true, true, true, false, false]);
        assert_eq!(allowed(Role::Operator), [true, true, false, true, false]);
        assert_eq!(allowed(Role::Admin), [true; 5]);
    }
}
