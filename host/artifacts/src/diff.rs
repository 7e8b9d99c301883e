//! The structured difference of two releases: what a tenant that moves from one to the other gains,
//! loses and must grant.
//!
//! Compares descriptors and exports as trees of values; it does not look into code.

use std::collections::BTreeMap;

use keyway_core::Release;
use serde_json::Value;

/// One thing that differs.
#[derive(Clone, PartialEq, Debug)]
pub struct Difference {
    /// Where, as a path of keys joined by `/`.
    pub path: String,
    /// In the first release; none if only the second has it.
    pub before: Option<Value>,
    /// In the second release; none if only the first has it.
    pub after: Option<Value>,
}

/// What differs between two releases, by path.
pub fn diff(before: &Release, after: &Release) -> Vec<Difference> {
    let mut leaves: BTreeMap<String, (Option<Value>, Option<Value>)> = BTreeMap::new();
    visit("", &document(before), &mut |path, value| {
        leaves.entry(path).or_default().0 = Some(value)
    });
    visit("", &document(after), &mut |path, value| leaves.entry(path).or_default().1 = Some(value));
    leaves
        .into_iter()
        .filter(|(_, (before, after))| before != after)
        .map(|(path, (before, after))| Difference { path, before, after })
        .collect()
}

fn document(release: &Release) -> Value {
    let descriptor = serde_json::to_value(&release.descriptor)
        .expect("a descriptor has string keys only, so it is JSON");
    serde_json::json!({
        "digest": release.reference.digest,
        "contract": release.contract.to_string(),
        "exports": release.exports,
        "descriptor": descriptor,
    })
}

/// Calls `leaf` for everything that is no object. A list is one value: its order may matter.
fn visit(path: &str, value: &Value, leaf: &mut impl FnMut(String, Value)) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (key, value) in fields {
                // RFC 6901 section 3: `~` and `/` of a key are escaped in a path.
                let key = key.replace('~', "~0").replace('/', "~1");
                visit(&format!("{path}/{key}"), value, leaf);
            }
        }
        other => leaf(path.to_owned(), other.clone()),
    }
}

#[cfg(test)]
mod tests {
    use keyway_core::release::ReleaseRef;
    use keyway_core::{Descriptor, Digest};
    use serde_json::json;

    use super::*;

    fn release(descriptor: Value) -> Release {
        let descriptor = Descriptor::parse(&descriptor.to_string()).unwrap();
        Release {
            reference: ReleaseRef::new(
                descriptor.name.clone(),
                descriptor.version.clone(),
                Digest::of(descriptor.version.to_string().as_bytes()),
            ),
            descriptor,
            component_bytes: 1,
            exports: vec!["actions".to_owned()],
            contract: "1.0.0".parse().unwrap(),
            published_by: "ann".parse().unwrap(),
            published_at: time::OffsetDateTime::UNIX_EPOCH,
        }
    }

    #[test]
    fn tells_what_came_and_what_went() {
        let old = release(json!({"format": 1, "name": "a/b", "version": "1.0.0",
            "actions": {"x": {"summary": "ex"}}}));
        let new = release(json!({"format": 1, "name": "a/b", "version": "1.1.0",
            "actions": {"y/z".replace('/', "."): {"summary": "why"}}}));
        assert!(diff(&old, &old).is_empty());
        let differences = diff(&old, &new);
        let find = |path: &str| differences.iter().find(|d| d.path == path).unwrap();
        assert_eq!(find("/descriptor/actions/x/summary").after, None);
        assert_eq!(find("/descriptor/actions/y.z/summary").before, None);
        assert_eq!(find("/descriptor/version").after, Some(json!("1.1.0")));
    }
}
