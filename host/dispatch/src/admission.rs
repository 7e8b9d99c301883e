//! Admission: how many calls may be under way, for all and for one tenant.
//!
//! Counters, not queues: a call over the limit is told so at once and may come again, instead of
//! waiting unseen while its caller's time runs out. A tenant without calls takes no memory.

use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use foldhash::HashMap;
use keyway_core::fault::Retry;
use keyway_core::ids::{Environment, Tenant};
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
    shared: Arc<Shared>,
}

struct Shared {
    limits: Limits,
    all: AtomicUsize,
    tenants: Mutex<HashMap<(Environment, Tenant), usize>>,
}

/// The right to run one call. Dropping it ends the call's count.
pub struct Permit {
    shared: Arc<Shared>,
    tenant: Option<(Environment, Tenant)>,
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
        let shared = Shared { limits, all: AtomicUsize::new(0), tenants: Mutex::default() };
        Self { shared: Arc::new(shared) }
    }

    /// Counts one call in, or refuses it.
    pub fn admit(&self, environment: &Environment, tenant: &Tenant) -> Result<Permit, Fault> {
        let mut permit = Permit { shared: Arc::clone(&self.shared), tenant: None };
        let limits = &self.shared.limits;
        if self.shared.all.fetch_add(1, Ordering::Relaxed) >= limits.calls_max {
            return Err(overloaded(format!("{} calls are under way", limits.calls_max)));
        }
        let key = (environment.clone(), tenant.clone());
        {
            let mut tenants = self.shared.tenants.lock().unwrap_or_else(PoisonError::into_inner);
            let count = tenants.entry(key.clone()).or_default();
            if *count >= limits.tenant_calls_max {
                let detail =
                    format!("{} calls of the tenant are under way", limits.tenant_calls_max);
                return Err(overloaded(detail));
            }
            *count += 1;
        }
        permit.tenant = Some(key);
        Ok(permit)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.shared.all.fetch_sub(1, Ordering::Relaxed);
        let Some(key) = self.tenant.take() else { return };
        let mut tenants = self.shared.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut count) = tenants.entry(key) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
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
        assert_eq!(admission.shared.all.load(Ordering::Relaxed), 4);
    }

    #[test]
    fn idle_tenants_are_forgotten() {
        let admission = Admission::new(Limits::default());
        for n in 0..100 {
            drop(admit(&admission, &format!("t{n}")));
        }
        assert_eq!(admission.shared.all.load(Ordering::Relaxed), 0);
        assert!(admission.shared.tenants.lock().unwrap().is_empty());
    }
}
