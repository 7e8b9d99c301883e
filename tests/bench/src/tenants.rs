//! The few requests that set a host up, and the words for them. A request that fails is a panic: without
//! it there is nothing to measure.

use harness::{Http, Reply};
use serde_json::{Value, json};

/// Path of an installation in `dev`.
pub(crate) fn path(tenant: &str, connector: &str, rest: &str) -> String {
    format!("/v1/environments/dev/tenants/{tenant}/connectors/{connector}{rest}")
}

/// Publishes a component; answers what it became.
pub(crate) async fn publish(operator: &mut Http, component: Vec<u8>) -> Value {
    operator.publish(component).await.ok().json()["release"].clone()
}

/// Pins a tenant.
pub(crate) async fn pin(
    operator: &mut Http,
    tenant: &str,
    connector: &str,
    release: &str,
) -> Reply {
    let body = json!({"release": release, "reason": "a benchmark asks"});
    operator.put(&path(tenant, connector, "/pin"), body).await.ok()
}

/// The value of a metric, summed over the series whose labels contain `label`; none without a series.
pub(crate) async fn metric(operator: &mut Http, name: &str, label: &str) -> Option<f64> {
    let text = operator.get("/metrics").await.ok().body;
    let text = String::from_utf8_lossy(&text);
    let series = text.lines().filter(|line| {
        let named = line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
        named && line.contains(label)
    });
    series.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).reduce(|a, b| a + b)
}
