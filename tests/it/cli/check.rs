//! `keyway check`: it says what a publication says, without a host.

use fixtures::{GUESTS, stating};
use serde_json::{Value, json};

use super::{Cli, REFUSED, Said};
use crate::setup::Setup;

/// What the command came to, and what the host said of the same bytes.
async fn both(cli: &Cli<'_>, component: Vec<u8>) -> (Said, Value) {
    let file = cli.file("component.wasm", &component);
    let checked = cli.run(&["check", &file, "--json"]);
    let published = cli.setup.host.http().publish(component).await;
    (checked, published.json())
}

/// Descriptors with a mistake each, and what must name it.
fn mistakes() -> Vec<(Value, &'static str)> {
    let token = json!({"token": {"scheme": {"kind": "bearer"}}});
    let host = json!(["api.example.com"]);
    let input = |schema: Value| json!({"actions": {"echo": {"input": schema}}});
    vec![
        (json!({"format": 2}), "format"),
        (json!({"actions": [1]}), "actions"),
        (
            json!({"objects": {"things": {"read": {"page-size": "ten"}}}}),
            "objects.things.read.page-size",
        ),
        (
            json!({"objects": {"things": {"read": {"page-size": 0}}}}),
            "objects.things.read.page-size",
        ),
        (
            json!({"hosts": host, "slots": {"token": {"scheme": {"kind": "magic"}}}}),
            "slots.token.scheme",
        ),
        (json!({"hosts": ["*"], "slots": token}), "hosts[0]"),
        (json!({"hosts": ["*.co.uk"], "slots": token}), "*.co.uk"),
        (json!({"slots": token}), "hosts"),
        (json!({"hosts": host, "base-url": "https://api.example.org"}), "base-url"),
        (json!({"hosts": host, "base-url": "https://api.example.com/{account}"}), "base-url"),
        (json!({"base-url": "https://api.example.com"}), "base-url"),
        (json!({"redirects": 9}), "redirects"),
        (json!({"api": {"version": "v1", "sunset": "soon"}}), "api.sunset"),
        (json!({"custom-objects": true}), "reader"),
        (input(json!({"type": "text"})), "actions.echo.input"),
        (input(json!({"properties": {"a": {"pattern": "("}}})), "actions.echo.input/properties/a"),
        (json!({"config": {"$ref": "#"}}), "config"),
        (json!({"actions": {"echo": {"output": {"required": "id"}}}}), "actions.echo.output"),
        (json!({"nonsense": 1}), "nonsense"),
    ]
}

#[tokio::test]
async fn a_mistake_is_named_alike_by_the_command_and_the_host() {
    let setup = Setup::new("");
    let cli = Cli::new(&setup);
    for (more, named) in mistakes() {
        let mut descriptor = json!({"format": 1, "name": "fixtures/stated", "version": "1.0.0"});
        let fields = descriptor.as_object_mut().expect("an object");
        fields.extend(more.as_object().expect("an object").clone());
        let (checked, published) = both(&cli, stating(&descriptor.to_string())).await;
        assert_eq!(checked.code, REFUSED, "{descriptor}: {checked:?}");
        let said: Value = serde_json::from_str(&checked.err).expect("JSON");
        assert_eq!(said["code"], "descriptor-invalid", "{descriptor}: {said}");
        assert_eq!((&said["code"], &said["detail"]), (&published["code"], &published["detail"]));
        assert!(
            said["detail"].as_str().is_some_and(|text| text.contains(named)),
            "{named}: {said}"
        );
    }
}

#[tokio::test]
async fn every_guest_is_judged_as_the_host_judges_it() {
    let setup = Setup::new("");
    let cli = Cli::new(&setup);
    for guest in GUESTS {
        let (checked, published) = both(&cli, guest.load().expect("built")).await;
        let text = if checked.code == 0 { &checked.out } else { &checked.err };
        let said: Value = serde_json::from_str(text).expect("JSON");
        let code = published["code"].as_str();
        // Three toolchains build one version of one connector, and the host takes the first.
        if code.is_none_or(|code| code == "version-taken") {
            assert_eq!(checked.code, 0, "{}: {checked:?}", guest.name);
        } else {
            assert_eq!((checked.code, said["code"].as_str()), (REFUSED, code), "{}", guest.name);
        }
        if code.is_none() {
            let digest = &published["release"]["digest"];
            assert_eq!(&said["release"]["digest"], digest, "{}", guest.name);
            assert_eq!(said["exports"], published["exports"], "{}", guest.name);
        }
    }
}

#[tokio::test]
async fn a_component_that_passes_is_named() {
    let setup = Setup::new("");
    let cli = Cli::new(&setup);
    let echo = cli.file("echo.wasm", fixtures::Guest::named("echo").load().expect("built"));
    let said = cli.run(&["check", &echo]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.out.starts_with("fixtures/echo@1.0.0 sha256:"), "{said:?}");
    assert!(said.err.contains("actions, descriptor"), "{said:?}");
    // An operator's limits hold here, too.
    let tight = cli.file("tight.toml", "[runtime.limits.admission]\ncomponent-bytes-max = 1000\n");
    let said = cli.run(&["check", &echo, "--config", &tight]);
    assert_eq!(said.code, REFUSED, "{said:?}");
    assert!(said.err.starts_with("keyway: component-too-large: "), "{said:?}");
    assert_eq!(cli.run(&["check", "nowhere.wasm"]).code, 1);
}
