//! Who asks, and whether they may.
//!
//! Checking a token reads the store once; after that the token is known here until it is revoked, its
//! time is over, or room is needed. Tokens are revoked through this process, which forgets them at
//! once; a second host on the same store would need to hear of it, and that is not built.
//!
//! A token is bound to environments. Only a caller's may be bound to tenants as well, and no call has a tenant in its body:
//! the tenant in a body, as in a line of an import, has none in the token that it could differ from (C91).
//!
//! **Invariant:** a token whose revocation was answered is never accepted again.

mod presented;

use std::sync::{Arc, PoisonError, RwLock};

use axum::http::{HeaderMap, Method};
use foldhash::{HashMap, HashSet};
use keyway_core::ids::{Actor, Connector, Environment, Installation, User};
use keyway_core::ports::{Clock, IssuedTokens};
use keyway_core::{Code, Digest, Fault};
use keyway_vault::Tokens;
use keyway_vault::model::{Bounds, Role, Token, Verb};
use keyway_vault::tokens;

use self::presented::Presented;
use crate::contract::Access;
use crate::serve::TokenMark;

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
    /// Counts up whenever a token comes or goes: what was looked up before is not kept after it.
    epoch: u64,
    tokens: HashMap<Digest, Arc<Token>>,
    /// All that there are, once somebody has asked.
    issued: Option<Arc<Issued>>,
}

/// All tokens of this host, by their hashes.
#[derive(Debug)]
pub(crate) struct Issued(HashSet<Digest>);

/// Who asks.
#[derive(Clone, Debug)]
pub(crate) struct Identity(Arc<Token>);

// === impl Auth ===

impl Auth {
    pub(crate) fn new(tokens: Tokens, clock: Arc<dyn Clock>) -> Self {
        Self { tokens, clock, known: RwLock::default() }
    }

    /// Who sent a request with these headers. Only what callers use takes a key in other ways than as a bearer token.
    pub(crate) async fn identify(
        &self,
        headers: &HeaderMap,
        access: Access,
    ) -> Result<Identity, Fault> {
        if access == Access::Call {
            return self.caller(presented::of(headers)?).await;
        }
        self.known(presented::bearer(headers)?).await
    }

    /// Who sent a request to the proxy, with this query: a client that knows nothing of this host sends its key in any way.
    pub(crate) async fn identify_client(
        &self,
        headers: &HeaderMap,
        query: Option<&str>,
    ) -> Result<Identity, Fault> {
        self.caller(presented::anywhere(headers, query)?).await
    }

    /// Whose key it is. In other ways than as a bearer token only keys are taken that are made for it: a browser repeats some
    /// of these ways by itself, and a URL is kept in many places.
    async fn caller(&self, presented: Presented) -> Result<Identity, Fault> {
        let identity = self.known(&presented.secret).await?;
        if presented.bearer || identity.0.role == Role::Caller {
            return Ok(identity);
        }
        let detail = "a token of this role is taken as `authorization: Bearer …` only";
        Err(Fault::new(Code::TokenInvalid, detail))
    }

    async fn known(&self, secret: &str) -> Result<Identity, Fault> {
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

    /// All tokens that there are. Those whose time is over are among them: no provider may have one either.
    pub(crate) async fn issued(&self) -> Result<Arc<Issued>, Fault> {
        let (epoch, issued) = {
            let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
            (known.epoch, known.issued.clone())
        };
        if let Some(issued) = issued {
            return Ok(issued);
        }
        let tokens = self.tokens.list().await?;
        let issued = Arc::new(Issued(tokens.into_iter().map(|token| token.hash).collect()));
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.epoch == epoch {
            known.issued = Some(Arc::clone(&issued));
        }
        Ok(issued)
    }

    /// Makes a token. Must run to its end, like the end of one.
    pub(crate) async fn issue(
        &self,
        grant: tokens::Grant,
        actor: &Actor,
    ) -> Result<tokens::Issued, Fault> {
        let issued = self.tokens.issue(grant, actor).await;
        // Even if it failed, as below.
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.changed();
        issued
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
        self.changed();
        self.tokens.clear();
    }

    /// There are other tokens than before.
    fn changed(&mut self) {
        self.epoch += 1;
        self.issued = None;
    }
}

// === impl Issued ===

impl IssuedTokens for Issued {
    fn has(&self, text: &[u8]) -> bool {
        self.0.contains(&Digest::of(text))
    }
}

// === impl Identity ===

impl Identity {
    /// The name to write down.
    pub(crate) fn actor(&self) -> &Actor {
        &self.0.name
    }

    /// The token, as connections are counted by it.
    pub(crate) fn mark(&self) -> TokenMark {
        TokenMark::of(&self.0.hash)
    }

    /// For whom it may publish; none means for everyone.
    pub(crate) fn publisher(&self) -> Option<&str> {
        self.0.publisher.as_deref()
    }

    /// Whether it is shown what connectors print: whoever operates the host, and no one who only calls.
    pub(crate) fn operates(&self) -> bool {
        role_allows(self.0.role, Access::Operate)
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

    /// Refuses calls that the token is not bound to allow.
    pub(crate) fn check_call(
        &self,
        installation: &Installation,
        user: Option<&User>,
        verb: Verb,
        method: &Method,
    ) -> Result<(), Fault> {
        let Bounds { tenants, connectors: _, users, verbs } = &self.0.bounds;
        let refuse = |what: &str| {
            let detail = format!("token `{}` does not cover this {what}", self.0.name);
            Err(Fault::new(Code::NotPermitted, detail))
        };
        if tenants.as_ref().is_some_and(|tenants| !tenants.contains(&installation.tenant)) {
            return refuse("tenant");
        }
        if !self.covers_connector(&installation.connector) {
            return refuse("connector");
        }
        if users.as_ref().is_some_and(|users| user.is_none_or(|user| !users.contains(user))) {
            return refuse("user");
        }
        let allows =
            |bound: &Verb| *bound == verb || (verb == Verb::Proxy && Some(*bound) == with(method));
        if verbs.as_ref().is_some_and(|verbs| !verbs.iter().any(allows)) {
            return refuse("kind of call");
        }
        Ok(())
    }

    /// Whether it may call, or look at, what a tenant has of a connector.
    pub(crate) fn covers_connector(&self, connector: &Connector) -> bool {
        self.0.bounds.connectors.as_ref().is_none_or(|names| names.contains(connector))
    }

    /// Whether it is for some calls only.
    pub(crate) fn bound(&self) -> bool {
        self.0.bounds != Bounds::default()
    }

    /// The user that calls are for which name none: the only one that the token may call for.
    pub(crate) fn only_user(&self) -> Option<&User> {
        match self.0.bounds.users.as_deref() {
            Some([user]) => Some(user),
            _ => None,
        }
    }
}

/// The verb that stands for the proxy with this method.
fn with(method: &Method) -> Option<Verb> {
    match method.as_str() {
        "HEAD" => Some(Verb::Get),
        method => method.parse().ok(),
    }
}

fn role_allows(role: Role, access: Access) -> bool {
    match access {
        Access::Open => true,
        Access::Metrics | Access::View => role != Role::Caller,
        Access::Call => matches!(role, Role::Caller | Role::Operator | Role::Admin),
        Access::Publish => matches!(role, Role::Publisher | Role::Admin),
        Access::Operate => matches!(role, Role::Operator | Role::Admin),
        Access::Administer => role == Role::Admin,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> Arc<Token> {
        Arc::new(Token {
            name: "ann".parse().unwrap(),
            hash: Digest::of(b"x"),
            role: Role::Viewer,
            environments: None,
            publisher: None,
            bounds: Default::default(),
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
        use Access::{Administer, Call, Metrics, Operate, Publish, View};
        let allowed = |role| {
            [View, Metrics, Publish, Call, Operate, Administer]
                .map(|access| role_allows(role, access))
        };
        assert_eq!(allowed(Role::Viewer), [true, true, false, false, false, false]);
        assert_eq!(allowed(Role::Publisher), [true, true, true, false, false, false]);
        assert_eq!(allowed(Role::Operator), [true, true, false, true, true, false]);
        assert_eq!(allowed(Role::Admin), [true; 6]);
        assert_eq!(allowed(Role::Caller), [false, false, false, true, false, false]);
    }

    #[test]
    fn a_token_makes_the_calls_that_it_is_bound_to_and_no_others() {
        let bound = |bounds: serde_json::Value| {
            let bounds = serde_json::from_value(bounds).unwrap();
            Identity(Arc::new(Token { bounds, ..Token::clone(&token()) }))
        };
        let may = |bounds, tenant: &str, user: Option<&str>, verb, method| {
            let installation = Installation {
                environment: "dev".parse().unwrap(),
                tenant: tenant.parse().unwrap(),
                connector: "acme/crm".parse().unwrap(),
            };
            let user = user.map(|user| user.parse().unwrap());
            bound(bounds).check_call(&installation, user.as_ref(), verb, &method).is_ok()
        };
        let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        let (get, post) = (Method::GET, Method::POST);
        assert!(may(json("{}"), "one", None, Verb::Invoke, post.clone()));
        let tenants = || json(r#"{"tenants":["one","two"]}"#);
        assert!(may(tenants(), "two", None, Verb::Proxy, get.clone()));
        assert!(!may(tenants(), "three", None, Verb::Proxy, get.clone()));
        assert!(!may(
            json(r#"{"connectors":["acme/other"]}"#),
            "one",
            None,
            Verb::Read,
            post.clone()
        ));
        let users = || json(r#"{"users":["ann"]}"#);
        assert!(may(users(), "one", Some("ann"), Verb::Read, post.clone()));
        assert!(!may(users(), "one", Some("bob"), Verb::Read, post.clone()));
        assert!(
            !may(users(), "one", None, Verb::Read, post.clone()),
            "the tenant's own connection"
        );
        let verbs = || json(r#"{"verbs":["read","GET"]}"#);
        assert!(may(verbs(), "one", None, Verb::Read, post.clone()));
        assert!(!may(verbs(), "one", None, Verb::Write, post.clone()));
        assert!(may(verbs(), "one", None, Verb::Proxy, get.clone()));
        assert!(may(verbs(), "one", None, Verb::Proxy, Method::HEAD));
        assert!(!may(verbs(), "one", None, Verb::Proxy, post.clone()));
        assert!(!may(verbs(), "one", None, Verb::Discover, get), "`GET` is of the proxy");
        assert!(may(json(r#"{"verbs":["proxy"]}"#), "one", None, Verb::Proxy, post));
    }
}
