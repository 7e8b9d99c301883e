//! The table of what every tenant ran, and what is wrong with it.

use serde_json::Value;

use crate::pins::{Pin, Pins};
use crate::plan::{self, Releases, TENANTS};
use crate::traffic::Tally;

/// What the host says of itself after the crash.
pub(crate) struct Found {
    /// `GET /v1/pins`.
    pub(crate) matrix: Value,
    /// Each tenant's pins, oldest first.
    pub(crate) histories: Vec<Vec<Pin>>,
}

/// Prints the table and says what is wrong.
pub(crate) fn report(
    releases: &Releases,
    tally: &Tally,
    pins: &Pins,
    found: &Found,
) -> Vec<String> {
    let mut problems = Vec::new();
    println!();
    println!(
        "  {:<10} {:<8} {:>7} {:>9} {:>12}  pinned",
        "tenant", "release", "calls", "failures", "interrupted"
    );
    for tenant in 0..TENANTS {
        let declared = declared(&found.matrix, &plan::tenant(tenant));
        rows(tenant, &text(&declared["version"]), tally);
        problems.extend(pinned(tenant, releases, tally, &text(&declared["digest"])));
        problems.extend(survived(tenant, pins, &found.histories[tenant]));
        let name = plan::tenant(tenant);
        problems.extend(tally.failures(tenant).map(|failure| format!("{name}: {failure}")));
    }
    if tally.interrupted() == 0 {
        problems.push("the kill met no call: it showed nothing".to_owned());
    }
    println!(
        "\n  {} calls, {} failed, {} met the crash and were answered when asked again",
        tally.calls(),
        tally.failed(),
        tally.interrupted(),
    );
    problems
}

/// A line for each release that a tenant ran; the last one has what it is pinned to.
fn rows(tenant: usize, version: &str, tally: &Tally) {
    let name = plan::tenant(tenant);
    for (release, counts) in tally.of(tenant) {
        let mark = if counts.last { version } else { "" };
        println!(
            "  {name:<10} {release:<8} {:>7} {:>9} {:>12}  {mark}",
            counts.calls, counts.failures, counts.interrupted,
        );
    }
}

/// What differs between what a tenant should run, is pinned to, and ran last.
fn pinned(tenant: usize, releases: &Releases, tally: &Tally, digest: &str) -> Vec<String> {
    let name = plan::tenant(tenant);
    let expected = &releases[plan::expected(tenant)];
    let mut problems = Vec::new();
    if digest != expected {
        problems.push(format!("{name} is pinned to `{digest}`, not {expected}"));
    }
    if tally.last(tenant) != Some(expected) {
        problems.push(format!("{name} ran {:?} last, not {expected}", tally.last(tenant)));
    }
    problems
}

/// What differs between the pins that were acknowledged before the crash and those that are there after it.
fn survived(tenant: usize, pins: &Pins, history: &[Pin]) -> Option<String> {
    let acknowledged = pins.acknowledged(tenant);
    let whole = acknowledged.len() == plan::pins(tenant) && acknowledged == history;
    (!whole).then(|| {
        let name = plan::tenant(tenant);
        format!(
            "{name}: acknowledged before the crash: {acknowledged:?}; there after it: {history:?}"
        )
    })
}

fn declared<'m>(matrix: &'m Value, tenant: &str) -> &'m Value {
    let mut rows = matrix["rows"].as_array().into_iter().flatten();
    rows.find(|row| row["tenant"] == tenant).map_or(&Value::Null, |row| &row["declared"]["release"])
}

/// The text of a value; empty where it is none.
pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_history_that_is_not_what_was_acknowledged_is_a_problem() {
        let pin = |generation, digest: &str| Pin { generation, digest: digest.to_owned() };
        let pins = Pins::new(TENANTS);
        let mut kept = Vec::new();
        for (generation, digest) in [(1, "one"), (2, "two"), (3, "one")] {
            pins.ask(0, digest, Instant::now());
            pins.acknowledge(0, pin(generation, digest), Instant::now());
            kept.push(pin(generation, digest));
        }
        assert_eq!(plan::pins(0), kept.len());
        assert_eq!(survived(0, &pins, &kept), None);
        assert!(survived(0, &pins, &kept[..2]).is_some(), "the last one is lost");
        assert!(survived(0, &pins, &[]).is_some(), "all are lost");
        let mut other = kept.clone();
        other[1].digest = "three".to_owned();
        assert!(survived(0, &pins, &other).is_some(), "another release");
        let mut again = kept.clone();
        again.push(pin(4, "one"));
        assert!(survived(0, &pins, &again).is_some(), "one that nobody asked for");
        // A tenant that was never moved and has no history at all.
        assert!(survived(TENANTS - 1, &pins, &[]).is_some());
    }
}
