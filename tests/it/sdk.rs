//! Components that the SDK makes: stamped with the contract, and published as they are.

use harness::component;

use crate::setup::Setup;

/// The contract that the SDK is made from, and the SDK.
const WIT: &str = include_str!("../../wit/v1/connector.wit");
const MANIFEST: &str = include_str!("../../sdk/Cargo.toml");

/// What is between two texts.
fn between<'t>(text: &'t str, before: &str, after: &str) -> &'t str {
    text.split_once(before).and_then(|(_, rest)| rest.split_once(after)).expect("it is there").0
}

/// The custom section that an SDK leaves, as WebAssembly writes it: 0, size, size of the name, name, content.
fn stamp() -> Vec<u8> {
    let name = b"keyway:contract";
    let contract = between(WIT, "package keyway:connector@", ";");
    let sdk = between(MANIFEST, "\nversion = \"", "\"");
    let content = format!("{contract} keyway-sdk/{sdk}");
    let size = 1 + name.len() + content.len();
    assert!(size < 0x80, "a size of one byte");
    let head = [0, size as u8, name.len() as u8];
    [&head[..], name, content.as_bytes()].concat()
}

#[test]
fn every_component_is_stamped_once_with_the_contract_and_the_sdk() {
    let stamp = stamp();
    for (workspace, name) in
        [("connectors", "hubspot-1"), ("connectors", "hubspot-2"), ("sdk", "examples/one-action")]
    {
        let bytes = component(workspace, name);
        let stamps = bytes.windows(stamp.len()).filter(|window| *window == stamp).count();
        assert_eq!(stamps, 1, "{name}: its section is not {:?}", String::from_utf8_lossy(&stamp));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_of_one_action_is_a_release() {
    let mut setup = Setup::new("");
    let published = setup.http.publish(component("sdk", "examples/one-action")).await.ok().json();
    assert_eq!(published["release"]["connector"], "acme/weather");
    assert_eq!(published["contract"], between(WIT, "package keyway:connector@", ";"));
    assert_eq!(published["exports"], serde_json::json!(["actions", "descriptor"]));
    assert!(published["descriptor"]["actions"]["today"].is_object(), "{published}");
    setup.pin("acme", "acme/weather", "1.0.0").await;
    let today = serde_json::json!("Bad Ems");
    let reply = setup.act("acme", "acme/weather", "today", today).await;
    assert_eq!(
        reply.code(),
        "credential-missing",
        "it runs, and asks for its key: {}",
        reply.json()
    );
}
