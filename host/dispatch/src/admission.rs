//! Admission: how many calls may be under way, for all and for one tenant.
//!
//! Counters, not queues: a call over the limit is told so at once and may come again, instead of
//! waiting unseen while its caller's time runs out. A tenant without calls takes no memory.

use std::time::Duration;

use keyway_core::fault::Retry;
use keyway_core::ids::{Environment, Tenant};
use keyway_core::shares::{Full, Share, Shares};
use keyway_core::{Code, Fault};

/// How many calls may be under way.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Calls of all tenants: no more than the runtime has instances, so that none waits for one.
    pub calls_max: usize,
    /// Calls of one tenant: an eighth of all, so that no tenant can take the host from the others.
    pub tenant_calls_max: usize,
}

/// When a refused call may come again: long enough for some to end.
const RETRY_AFTER: Duration = Duration::from_millis(250);

/// Counts calls under way.
pub struct Admission {
    limits: Limits,
    calls: Shares<(Environment, Tenant)>,
}

/// The right to run one call. Dropping it ends the call's count.
pub struct Permit {
    _share: Share<(Environment, Tenant)>,
}

// === impl Limits ===

impl Default for Limits {
    fn default() -> Self {
        Self { calls_max: 1_000, tenant_calls_max: 125 }
    }
}

// === impl Admission ===

impl Admission {
    /// Nothing under way.
    pub fn new(limits: Limits) -> Self {
        let calls = Shares::new(limits.calls_max, limits.tenant_calls_max);
        Self { limits, calls }
    }

    /// Counts one call in, or refuses it.
    pub fn admit(&self, environment: &Environment, tenant: &Tenant) -> Result<Permit, Fault> {
        let share = self.calls.take(&(environment.clone(), tenant.clone()), 1);
        share.map(|_share| Permit { _share }).map_err(|full| {
            let Limits { calls_max, tenant_calls_max } = &self.limits;
            overloaded(match full {
                Full::All => format!("{calls_max} calls are under way"),
                Full::Own => format!("{tenant_calls_max} calls of the tenant are under way"),
            })
        })
    }
}

fn overloaded(detail: String) -> Fault {
    Fault::new(Code::Overloaded, detail).retry(Retry::After(RETRY_AFTER))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admit(admission: &Admission, tenant: &str) -> Result<Permit, Fault> {
        admission.admit(&"dev".parse().unwrap(), &tenant.parse().unwrap())
    }

    #[test]
    fn one_tenant_cannot_take_what_is_left_for_others() {
        let admission = Admission::new(Limits { calls_max: 4, tenant_calls_max: 2 });
        let first = admit(&admission, "a").unwrap();
        let _second = admit(&admission, "a").unwrap();
        assert_eq!(admit(&admission, "a").err().unwrap().code, Code::Overloaded);
        let _b = (admit(&admission, "b").unwrap(), admit(&admission, "b").unwrap());
        assert_eq!(admit(&admission, "c").err().unwrap().code, Code::Overloaded);
        drop(first);
        let _again = admit(&admission, "a").unwrap();
        assert_eq!(admission.calls.taken(), 4);
    }

    #[test]
    fn idle_tenants_are_forgotten() {
        let admission = Admission::new(Limits::default());
        for n in 0..100 {
            drop(admit(&admission, &format!("t{n}")));
        }
        assert_eq!(admission.calls.taken(), 0);
        assert_eq!(admission.calls.takers(), 0);
    }
}
