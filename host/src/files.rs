//! Open files: how many this process may have, and how they are shared out.
//!
//! A connection is one, to a caller or to a provider, and so is every file that is read. Whoever takes the last one takes
//! it from the store as well, so what callers and providers may have is made to fit the limit before anything is opened.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::Config;

/// What the host asks the system for, where the system's own bound is higher: more than it can use, and few enough for
/// those who look at each number.
const WANTED_MAX: u64 = 1 << 20;

/// Files that are kept for the host itself: the store, both logs and who reads them, components and compiled code
/// that are being read, the pipes of processes that check components, name servers, the listener, and one caller who
/// waits for a place. Measured at rest: 21.
const OWN: u64 = 192;

/// With fewer, the host does not start: half of them are its own, and half of the rest are for callers.
const LIMIT_MIN: u64 = 64;

/// How many connections fit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Shares {
    /// From callers.
    callers: u64,
    /// To providers.
    providers: u64,
}

/// Raises the soft limit as far as the hard one permits, and says what it is now.
pub(crate) fn raise() -> anyhow::Result<u64> {
    let limit = getrlimit(Resource::Nofile);
    let permitted = limit.maximum.unwrap_or(WANTED_MAX).min(WANTED_MAX);
    let now = limit.current.unwrap_or(WANTED_MAX);
    if now >= permitted {
        return Ok(now);
    }
    let raised = Rlimit { current: Some(permitted), maximum: limit.maximum };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => Ok(permitted),
        Err(error) => {
            tracing::warn!(%error, limit = now, "limit on open files not raised");
            Ok(now)
        }
    }
}

/// Makes the configured numbers of connections fit a limit on open files, and says so where they did not.
pub(crate) fn fit(config: &mut Config, limit: u64) -> anyhow::Result<()> {
    anyhow::ensure!(
        limit >= LIMIT_MIN,
        "the limit on open files is {limit}, and a host needs {LIMIT_MIN} at least: raise it (`ulimit -n`, `LimitNOFILE=`)"
    );
    let callers = config.api.connections_max as u64;
    let providers = config.egress.limits.connections_max as u64;
    let shares = share(limit, callers, providers);
    if shares.callers < callers {
        let needed = OWN + callers + providers;
        tracing::warn!(
            limit,
            needed,
            configured = callers,
            connections = shares.callers,
            "the limit on open files is too low for api.connections-max: fewer callers can be connected at once"
        );
        // One address keeps its part of them, and so does one token.
        let api = &mut config.api;
        for part in [&mut api.peer_connections_max, &mut api.token_connections_max] {
            *part = number((*part as u64 * shares.callers / callers.max(1)).max(1));
        }
        config.api.connections_max = number(shares.callers);
    }
    if shares.providers < providers {
        let limits = &mut config.egress.limits;
        limits.connections_max = number(shares.providers);
        // A kept connection is only a saving: those under way come first.
        limits.idle_max = number(shares.providers / 2).min(limits.idle_max);
        tracing::warn!(
            limit,
            configured = providers,
            connections = limits.connections_max,
            idle_max = limits.idle_max,
            "the limit on open files is too low for egress.limits.connections-max: fewer connections to providers are open at once"
        );
    }
    tracing::info!(limit, connections_max = config.api.connections_max, "open files");
    Ok(())
}

/// Both have what they want if there is room; otherwise callers have what providers leave, and half of it at least.
fn share(limit: u64, callers: u64, providers: u64) -> Shares {
    let left = limit - OWN.min(limit / 2);
    let callers = callers.min(left.saturating_sub(providers).max(left / 2));
    Shares { callers, providers: providers.min(left - callers) }
}

fn number(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_never_add_up_to_more_than_there_is() {
        for limit in LIMIT_MIN..12_000 {
            for (callers, providers) in [(4_096, 4_096), (100_000, 10), (10, 100_000), (1, 1)] {
                let shares = share(limit, callers, providers);
                let own = limit - shares.callers - shares.providers;
                assert!(own >= OWN.min(limit / 2), "{limit}: {shares:?}");
                assert!(shares.callers > 0 && shares.providers > 0, "{limit}: {shares:?}");
                if limit >= OWN + callers + providers {
                    assert_eq!(shares, Shares { callers, providers }, "{limit}");
                }
            }
        }
    }

    #[test]
    fn what_fits_is_left_alone_and_what_does_not_is_made_to() {
        let mut config = Config::default();
        fit(&mut config, 1 << 16).unwrap();
        assert_eq!(format!("{config:?}"), format!("{:?}", Config::default()));

        fit(&mut config, 1_024).unwrap();
        assert_eq!(config.api.connections_max, 416);
        assert_eq!((config.api.peer_connections_max, config.api.token_connections_max), (208, 208));
        assert_eq!(config.egress.limits.connections_max, 416);
        assert_eq!(config.egress.limits.idle_max, 208);

        fit(&mut Config::default(), LIMIT_MIN).unwrap();
        let refused = fit(&mut Config::default(), LIMIT_MIN - 1).unwrap_err().to_string();
        assert!(refused.contains("needs 64 at least"), "{refused}");
    }
}
