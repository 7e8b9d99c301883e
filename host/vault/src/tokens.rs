//! API tokens: made once, shown once, kept as a hash.
//!
//! A token is `kw_` and 43 characters of base64url: 256 random bits, so a plain hash is as good as a
//! slow one and a lookup by hash leaks nothing by its timing. What a role may do is the API's to decide.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use keyway_core::ids::{Actor, Connector, Environment, Tenant, User};
use keyway_core::ports::Clock;
use keyway_core::{Code, Digest, Fault, token};
use keyway_store::Store;
use keyway_store::model::{Bounds, Entry, Role, Token, Verb};
use rand::TryRngCore as _;
use rand::rngs::OsRng;
use secrecy::{ExposeSecret as _, SecretString};
use time::OffsetDateTime;
use zeroize::Zeroizing;

/// Issues, checks and revokes tokens.
#[derive(Clone)]
pub struct Tokens {
    store: Store,
    clock: Arc<dyn Clock>,
}

/// A token, wanted.
#[derive(Clone, Debug)]
pub struct Grant {
    /// What it is called.
    pub name: Actor,
    /// What it may do.
    pub role: Role,
    /// Where; none means everywhere.
    pub environments: Option<Vec<Environment>>,
    /// For whom it may publish; none means for every publisher.
    pub publisher: Option<String>,
    /// Which calls it may make, where its role is to call.
    pub bounds: Bounds,
    /// After this it is refused.
    pub expires_at: Option<OffsetDateTime>,
}

/// A token as its maker sees it, once.
pub struct Issued {
    /// What was kept of it.
    pub token: Token,
    /// The token itself.
    pub secret: SecretString,
}

// === impl Tokens ===

impl Tokens {
    /// Tokens kept in `store`.
    pub fn new(store: Store, clock: Arc<dyn Clock>) -> Self {
        Self { store, clock }
    }

    /// Makes a token. Its secret is in the answer and nowhere else.
    pub async fn issue(&self, grant: Grant, actor: &Actor) -> Result<Issued, Fault> {
        let issued = self.draw(grant)?;
        self.keep(&issued, actor).await?;
        Ok(issued)
    }

    /// Draws a token that is not valid yet: for a caller who must put it somewhere safe first.
    pub fn draw(&self, grant: Grant) -> Result<Issued, Fault> {
        let secret = generate()?;
        let token = Token {
            name: grant.name,
            hash: Digest::of(secret.expose_secret().as_bytes()),
            role: grant.role,
            environments: grant.environments,
            publisher: grant.publisher,
            bounds: grant.bounds,
            expires_at: grant.expires_at,
            at: self.clock.now(),
        };
        Ok(Issued { token, secret })
    }

    /// Makes a drawn token valid.
    pub async fn keep(&self, issued: &Issued, actor: &Actor) -> Result<(), Fault> {
        let token = &issued.token;
        let tx = self.store.tx().add_token(token.clone());
        tx.commit(entry("token.issue", &token.name, actor, Some(granted(token)))).await?;
        Ok(())
    }

    /// The token that this secret is.
    pub async fn check(&self, secret: &str) -> Result<Token, Fault> {
        let hash = Digest::of(secret.as_bytes());
        let token = self.store.token(&hash).await?;
        let token = token
            .ok_or_else(|| Fault::new(Code::TokenInvalid, "this host did not issue the token"))?;
        match token.expires_at {
            Some(at) if at <= self.clock.now() => {
                Err(Fault::new(Code::TokenExpired, "the token's time is over"))
            }
            _ => Ok(token),
        }
    }

    /// Every token, without its secret.
    pub async fn list(&self) -> Result<Vec<Token>, Fault> {
        Ok(self.store.tokens().await?)
    }

    /// Ends a token.
    pub async fn revoke(&self, name: &Actor, actor: &Actor) -> Result<(), Fault> {
        if !self.store.tokens().await?.iter().any(|token| token.name == *name) {
            return Err(Fault::new(Code::UnknownToken, format!("no token is called `{name}`")));
        }
        let tx = self.store.tx().remove_token(name);
        tx.commit(entry("token.revoke", name, actor, None)).await?;
        Ok(())
    }
}

fn generate() -> Result<SecretString, Fault> {
    let mut bytes = Zeroizing::new([0; 32]);
    OsRng.try_fill_bytes(&mut *bytes).map_err(|error| {
        Fault::new(Code::Internal, "no random bytes for a token").caused_by(error)
    })?;
    Ok(format!("{}{}", token::PREFIX, URL_SAFE_NO_PAD.encode(*bytes)).into())
}

/// What a token may do, where, for whom and until when: what the audit keeps of it.
fn granted(token: &Token) -> String {
    let mut text = token.role.as_str().to_owned();
    if let Some(environments) = &token.environments {
        let names: Vec<&str> = environments.iter().map(Environment::as_str).collect();
        text.push_str(&format!(" in {}", names.join(", ")));
    }
    if let Some(publisher) = &token.publisher {
        text.push_str(&format!(" for publisher {publisher}"));
    }
    bounded(&token.bounds, &mut text);
    if let Some(at) = token.expires_at {
        text.push_str(&format!(" until {at}"));
    }
    text
}

fn bounded(bounds: &Bounds, text: &mut String) {
    fn list<T>(text: &mut String, kind: &str, names: Option<&[T]>, name: impl Fn(&T) -> &str) {
        if let Some(names) = names {
            let names: Vec<&str> = names.iter().map(name).collect();
            text.push_str(&format!(", {kind} {}", names.join(" ")));
        }
    }
    let Bounds { tenants, connectors, users, verbs } = bounds;
    list(text, "tenants", tenants.as_deref(), Tenant::as_str);
    list(text, "connectors", connectors.as_deref(), Connector::as_str);
    list(text, "users", users.as_deref(), User::as_str);
    list(text, "verbs", verbs.as_deref(), |verb: &Verb| verb.as_str());
}

fn entry(action: &str, name: &Actor, actor: &Actor, after: Option<String>) -> Entry {
    Entry {
        actor: actor.clone(),
        action: action.to_owned(),
        object: format!("token {name}"),
        reason: None,
        before: None,
        after,
    }
}

// === impl Issued ===

impl fmt::Debug for Issued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issued").field("token", &self.token).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_looks_like_one() {
        let token = generate().unwrap();
        let token = token.expose_secret();
        assert!(
            token.len() == token::LENGTH && token::stands_in(token.as_bytes()),
            "{}",
            token.len()
        );
    }
}
