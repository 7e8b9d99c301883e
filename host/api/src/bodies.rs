//! Bodies of requests in memory: so many bytes of all, of each tenant, and of each token.
//!
//! A body is held from its first byte until its request is answered, and so is what is made of it. Without a bound, many large
//! ones that come slowly would be held before anybody has asked whether a call may begin. Whoever has no more room is refused
//! before anything is read, or in the middle, and what it held is free again.
//!
//! Bodies that go through as they come are not held, and components have places of their own ([`crate::uploads`]).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::http::request::Parts;
use keyway_core::fault::Retry;
use keyway_core::ids::Actor;
use keyway_core::limits::JSON_NODES_MAX;
use keyway_core::shares::{Full, Payer, Share, Shares};
use keyway_core::{Code, Fault};

use crate::api::{Host, Limits};
use crate::body::SHAPE_BYTES_MAX;
use crate::place::Known;
use crate::problem::Refusal;

/// Bytes of a body that nobody counts: as many as each connection may have open, 4,096 of them 64 MiB. Most bodies are
/// shorter, so that most requests do not meet here, and who has no more room can still do what is small.
const FREE_BYTES: usize = 16 << 10;

/// Of this many bytes for all, one token has at the most one. A host whose requests all come by one token still has half.
pub(crate) const TOKENS: usize = 2;

/// When what found no room may come again: others are answered within it.
const RETRY_AFTER: Duration = Duration::from_millis(250);

/// What bodies of all requests take. Shared.
pub(crate) struct Bodies {
    limits: Limits,
    payers: Shares<Payer>,
    /// Names of tenants can be made up; tokens cannot.
    tokens: Shares<Actor>,
}

/// What one request holds, until it is dropped.
#[derive(Default)]
pub(crate) struct Held(Mutex<Vec<Part>>);

/// Of the tenant's share, and as much of the token's.
type Part = (Share<Payer>, Option<Share<Actor>>);

/// Who holds the body of a request, and where.
pub(crate) struct Holder {
    bodies: Arc<Bodies>,
    payer: Payer,
    token: Option<Actor>,
    held: Arc<Held>,
}

/// Bytes that the largest body takes, with what is made of it.
pub(crate) fn bytes_max(limits: &Limits) -> usize {
    limits.json_bytes_max.saturating_add(JSON_NODES_MAX * SHAPE_BYTES_MAX)
}

fn refusal(detail: String) -> Fault {
    Fault::new(Code::Overloaded, detail).retry(Retry::After(RETRY_AFTER))
}

// === impl Bodies ===

impl Bodies {
    pub(crate) fn new(limits: &Limits) -> Arc<Self> {
        let all = limits.bodies_bytes_max;
        Arc::new(Self {
            limits: limits.clone(),
            payers: Shares::new(all, limits.tenant_bodies_bytes_max),
            tokens: Shares::new(all, all / TOKENS),
        })
    }

    fn full(&self, payer: &Payer, full: Full) -> Fault {
        let Limits { bodies_bytes_max: all, tenant_bodies_bytes_max: own, .. } = self.limits;
        refusal(match (full, payer) {
            (Full::All, _) => format!("requests under way have {all} bytes"),
            (Full::Own, Payer::Tenant(..)) => {
                format!("requests of the tenant under way have {own} bytes")
            }
            (Full::Own, Payer::Token(token)) => {
                format!("requests of token `{token}` under way have {own} bytes")
            }
            (Full::Own, Payer::Anybody) => {
                format!("requests without a token under way have {own} bytes")
            }
        })
    }

    fn token_full(&self, token: &Actor) -> Fault {
        let most = self.limits.bodies_bytes_max / TOKENS;
        refusal(format!("requests of token `{token}` under way have {most} bytes"))
    }
}

// === impl Holder ===

impl Holder {
    /// Of a request that came by a route.
    pub(crate) fn of(api: &Host, parts: &Parts) -> Result<Self, Refusal> {
        let known = Known::of(parts)?;
        let token = known.identity.as_ref().map(|identity| identity.actor().clone());
        let payer = match (known.places.tenant(&parts.uri)?, &token) {
            (Some((environment, tenant)), _) => Payer::Tenant(environment, tenant),
            (None, Some(token)) => Payer::Token(token.clone()),
            (None, None) => Payer::Anybody,
        };
        let (bodies, held) = (Arc::clone(&api.bodies), Arc::clone(&known.held));
        Ok(Self { bodies, payer, token, held })
    }

    /// Whose it is.
    pub(crate) fn payer(&self) -> &Payer {
        &self.payer
    }

    /// The request holds so many bytes from now on, if it held less.
    pub(crate) fn hold(&self, bytes: usize) -> Result<(), Fault> {
        if bytes <= FREE_BYTES {
            return Ok(());
        }
        let mut held = self.held.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = held.iter().map(|(share, _)| share.amount()).sum();
        let more = bytes.saturating_sub(before);
        if more > 0 {
            held.push(self.take(more)?);
        }
        Ok(())
    }

    fn take(&self, bytes: usize) -> Result<Part, Fault> {
        let Bodies { payers, tokens, .. } = &*self.bodies;
        let of_payer = payers.take(&self.payer, bytes);
        let of_payer = of_payer.map_err(|full| self.bodies.full(&self.payer, full))?;
        let Some(token) = &self.token else { return Ok((of_payer, None)) };
        let of_token = tokens.take(token, bytes).map_err(|_| self.bodies.token_full(token))?;
        Ok((of_payer, Some(of_token)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bodies(all: usize, own: usize) -> Arc<Bodies> {
        let limits =
            Limits { bodies_bytes_max: all, tenant_bodies_bytes_max: own, ..Limits::default() };
        Bodies::new(&limits)
    }

    fn holder(bodies: &Arc<Bodies>, tenant: &str, token: &str) -> Holder {
        Holder {
            bodies: Arc::clone(bodies),
            payer: Payer::Tenant("dev".parse().unwrap(), tenant.parse().unwrap()),
            token: Some(token.parse().unwrap()),
            held: Arc::default(),
        }
    }

    fn refused(held: Result<(), Fault>) -> String {
        let fault = held.unwrap_err();
        assert_eq!((fault.code, fault.retry), (Code::Overloaded, Retry::After(RETRY_AFTER)));
        fault.detail
    }

    #[test]
    fn a_tenant_has_its_share_and_leaves_the_others_theirs() {
        const PART: usize = 1 << 20;
        let bodies = bodies(8 * PART, 2 * PART);
        let (first, second) = (holder(&bodies, "a", "x"), holder(&bodies, "a", "y"));
        first.hold(PART).unwrap();
        first.hold(PART / 2).unwrap();
        second.hold(PART).unwrap();
        assert!(refused(second.hold(PART + 1)).contains("of the tenant"));
        assert!(refused(holder(&bodies, "a", "z").hold(FREE_BYTES + 1)).contains("of the tenant"));
        holder(&bodies, "a", "z").hold(FREE_BYTES).unwrap();
        holder(&bodies, "b", "z").hold(2 * PART).unwrap();
        drop(first);
        second.hold(2 * PART).unwrap();
        drop(second);
        assert_eq!((bodies.payers.taken(), bodies.tokens.taken()), (0, 0));
        assert_eq!((bodies.payers.takers(), bodies.tokens.takers()), (0, 0));
    }

    #[test]
    fn tenants_that_a_token_makes_up_have_no_more_than_half_of_all() {
        const PART: usize = 1 << 20;
        let bodies = bodies(8 * PART, 2 * PART);
        let own: Vec<_> = ["a", "b"].map(|tenant| holder(&bodies, tenant, "x")).into();
        own.iter().for_each(|holder| holder.hold(2 * PART).unwrap());
        assert!(refused(holder(&bodies, "c", "x").hold(PART)).contains("of token `x`"));
        assert_eq!(bodies.payers.taken(), 4 * PART, "who was refused holds nothing");
        let others: Vec<_> = ["c", "d"].map(|tenant| holder(&bodies, tenant, "y")).into();
        others.iter().for_each(|holder| holder.hold(2 * PART).unwrap());
        assert!(refused(holder(&bodies, "e", "z").hold(PART)).starts_with("requests under way"));
    }
}
