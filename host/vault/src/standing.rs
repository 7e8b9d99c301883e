//! What is shown of connections: of one, of an installation's, and of those of an environment whose tokens stand
//! somewhere, which an operator asks for when something is wrong with many.
//!
//! Where each stands is kept in memory and in order, for a page must not read every record of an environment. A host
//! knows all of them from its start on ([`Vault::check_all`]). What is shown of a connection is read from the store.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

use keyway_core::address::{Label, SlotMark};
use keyway_core::ids::{ConnectionRef, Connector, Environment, Installation, Slot, Tenant, User};
use keyway_core::{Code, Fault};
use keyway_store::model::Connection;

use crate::connections::{Vault, is_by_hand};
use crate::import::Watch;
use crate::metrics::Metrics;
use crate::oauth::record::{Phase, State};

/// A connection and where its tokens stand.
#[derive(Clone, Debug)]
pub struct Info {
    /// The connection; its ciphertext is not for showing.
    pub connection: Connection,
    /// Of tokens; none for a secret that was set by hand.
    pub state: Option<State>,
    /// Of tokens that were imported.
    pub watch: Option<Watch>,
}

/// A [`Phase`], in a word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stand {
    /// [`Phase::Ready`].
    Ready,
    /// [`Phase::Refreshing`].
    Refreshing,
    /// [`Phase::Uncertain`].
    Uncertain,
    /// [`Phase::NeedsReauth`].
    NeedsReauth,
}

/// Which connections are wanted.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Of this environment.
    pub environment: Environment,
    /// Only theirs.
    pub tenant: Option<Tenant>,
    /// Only of it.
    pub connector: Option<Connector>,
    /// Only those that stand there.
    pub stand: Option<Stand>,
    /// Only those behind this one.
    pub after: Option<ConnectionRef>,
}

/// Where each connection stands that has tokens.
#[derive(Debug)]
pub(crate) struct Standings {
    by: Mutex<BTreeMap<ConnectionRef, Stand>>,
    metrics: Metrics,
}

// === impl Stand ===

impl Stand {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Refreshing => "refreshing",
            Self::Uncertain => "uncertain",
            Self::NeedsReauth => "needs-reauth",
        }
    }
}

impl From<&Phase> for Stand {
    fn from(phase: &Phase) -> Self {
        match phase {
            Phase::Ready => Self::Ready,
            Phase::Refreshing { .. } => Self::Refreshing,
            Phase::Uncertain { .. } => Self::Uncertain,
            Phase::NeedsReauth { .. } => Self::NeedsReauth,
        }
    }
}

// === impl Wanted ===

impl Wanted {
    fn is(&self, of: &ConnectionRef, stand: Stand) -> bool {
        self.tenant.as_ref().is_none_or(|tenant| *tenant == of.installation.tenant)
            && self
                .connector
                .as_ref()
                .is_none_or(|connector| *connector == of.installation.connector)
            && self.stand.is_none_or(|wanted| wanted == stand)
    }
}

// === impl Standings ===

impl Standings {
    pub(crate) const fn new(metrics: Metrics) -> Self {
        Self { by: Mutex::new(BTreeMap::new()), metrics }
    }

    /// Takes note of where a connection's tokens stand; none where it has none any more.
    pub(crate) fn note(&self, of: &ConnectionRef, stand: Option<Stand>) {
        let mut by = self.lock();
        let before = match stand {
            Some(stand) => by.insert(of.clone(), stand),
            None => by.remove(of),
        };
        self.metrics.stands(before, stand);
    }

    /// At most so many of them, in order.
    fn page(&self, wanted: &Wanted, limit: usize) -> Vec<ConnectionRef> {
        let from = wanted.after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let by = self.lock();
        by.range::<ConnectionRef, _>((from, Bound::Unbounded))
            .skip_while(|(of, _)| of.installation.environment < wanted.environment)
            .take_while(|(of, _)| of.installation.environment == wanted.environment)
            .filter(|(of, stand)| wanted.is(of, **stand))
            .take(limit)
            .map(|(of, _)| of.clone())
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ConnectionRef, Stand>> {
        self.by.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Vault ===

impl Vault {
    /// A connection and where its tokens stand.
    pub async fn info(&self, connection: Connection) -> Result<Info, Fault> {
        let state = if is_by_hand(&connection) {
            None
        } else {
            self.shared.records.state(&connection.reference(), connection.epoch).await?
        };
        Ok(self.informed(connection, state))
    }

    /// The connection, which must be there.
    pub async fn existing(&self, of: &ConnectionRef) -> Result<Connection, Fault> {
        let absent = || Fault::new(Code::UnknownConnection, format!("there is no {of}"));
        self.find(of).await?.ok_or_else(absent)
    }

    /// Which of these slots, and which user, the marks of an address stand for. None where one of them stands for nothing.
    pub async fn marked(
        &self,
        installation: &Installation,
        slots: &[&Slot],
        label: &Label,
    ) -> Result<Option<(Option<Slot>, Option<User>)>, Fault> {
        let mut slots = slots.to_vec();
        if let Some(mark) = &label.slot {
            slots.retain(|slot| SlotMark::of(slot) == *mark);
        }
        let slot = label.slot.and(slots.first().copied().cloned());
        if slots.is_empty() {
            return Ok(None);
        }
        let Some(mark) = &label.user else { return Ok(Some((slot, None))) };
        for of in slots {
            if let Some(user) = self.shared.store.user_marked(installation, of, mark).await? {
                return Ok(Some((slot, Some(user))));
            }
        }
        Ok(None)
    }

    /// Every connection of an installation: the tenant's own, then its users'.
    pub async fn connections(&self, installation: &Installation) -> Result<Vec<Info>, Fault> {
        let state = self.shared.store.installation(installation).await?;
        let own = state.map(|state| state.connections).unwrap_or_default();
        let users = self.shared.store.user_connections(installation).await?;
        let mut infos = Vec::with_capacity(own.len() + users.len());
        for connection in own.into_iter().chain(users) {
            infos.push(self.info(connection).await?);
        }
        Ok(infos)
    }

    /// At most `limit` connections that have tokens, by installation, slot and user. Fewer than that only where there
    /// are no more.
    pub async fn standing(&self, wanted: Wanted, limit: usize) -> Result<Vec<Info>, Fault> {
        let mut wanted = wanted;
        let mut infos = Vec::new();
        while infos.len() < limit {
            let page = self.shared.standings.page(&wanted, limit - infos.len());
            let Some(last) = page.last() else { break };
            wanted.after = Some(last.clone());
            for of in &page {
                // One that was removed since leaves its place to the next.
                if let Some(connection) = self.find(of).await? {
                    infos.push(self.info(connection).await?);
                }
            }
        }
        Ok(infos)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection(environment: &str, tenant: &str, user: Option<&str>) -> ConnectionRef {
        let installation = Installation {
            environment: environment.parse().unwrap(),
            tenant: tenant.parse().unwrap(),
            connector: "acme/crm".parse().unwrap(),
        };
        let user = user.map(|user| user.parse().unwrap());
        ConnectionRef { installation, slot: "token".parse().unwrap(), user }
    }

    fn wanted() -> Wanted {
        Wanted {
            environment: "dev".parse().unwrap(),
            tenant: None,
            connector: None,
            stand: None,
            after: None,
        }
    }

    #[test]
    fn pages_are_of_one_environment_and_go_on_where_the_last_ended() {
        let standings = Standings::new(Metrics::default());
        let all = [
            connection("dev", "a", None),
            connection("dev", "b", None),
            connection("dev", "b", Some("u-1")),
            connection("dev", "c", None),
        ];
        for of in all.iter().chain(&[connection("aaa", "z", None), connection("prod", "a", None)]) {
            standings.note(of, Some(Stand::Ready));
        }
        let mut wanted = wanted();
        assert_eq!(standings.page(&wanted, 10), all);
        assert_eq!(standings.page(&wanted, 3), all[..3]);
        wanted.after = Some(all[2].clone());
        assert_eq!(standings.page(&wanted, 3), all[3..]);
        wanted.after = Some(all[3].clone());
        assert_eq!(standings.page(&wanted, 3), [], "not the next environment's");
    }

    #[test]
    fn what_stands_elsewhere_is_left_out_and_a_change_moves_it() {
        let standings = Standings::new(Metrics::default());
        let (a, b) = (connection("dev", "a", None), connection("dev", "b", None));
        standings.note(&a, Some(Stand::NeedsReauth));
        standings.note(&b, Some(Stand::Ready));
        let reauth = Wanted { stand: Some(Stand::NeedsReauth), ..wanted() };
        assert_eq!(standings.page(&reauth, 10), std::slice::from_ref(&a));
        standings.note(&b, Some(Stand::NeedsReauth));
        standings.note(&a, None);
        assert_eq!(standings.page(&reauth, 10), [b]);
        let of_a = Wanted { tenant: Some("a".parse().unwrap()), ..wanted() };
        assert_eq!(standings.page(&of_a, 10), []);
        let other = Wanted { connector: Some("acme/erp".parse().unwrap()), ..wanted() };
        assert_eq!(standings.page(&other, 10), []);
    }
}
