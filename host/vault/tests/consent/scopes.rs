//! Lists of granted scopes that come with a consent, of any length.

use serde_json::json;

use crate::World;

/// Providers of many scopes list all that an app ever had. Of a list that its row does not take, what the release asks for is
/// kept; of one that is longer than a token, nothing.
#[tokio::test]
async fn a_list_of_scopes_of_any_length_costs_no_tokens() {
    let mut world = World::new().await;
    let list = |bytes: usize, with: &str| {
        let many: Vec<_> = (0..bytes / 20).map(|n| format!("crm.objects.of.{n:04}")).collect();
        json!({"scope": format!("{} {with}", many.join(" "))})
    };
    let kept = async |world: &World| world.vault.existing(&world.of).await.unwrap().scopes;
    // Nobody asks for any: what is told is too long to be told.
    world.server.answer_besides(json!({"scope": "s".repeat(2_557)}));
    assert_eq!(world.connect("a byte").await, Ok(1));
    assert_eq!(kept(&world).await, None);
    let mut spec = serde_json::to_value(&world.spec).expect("JSON");
    spec["scopes"] = json!(["read", "write"]);
    world.spec = serde_json::from_value(spec).expect("valid");
    for (code_given, bytes, with, expected) in [
        ("whole", 1_000, "read", None),
        ("over a row", 5_000, "read write", Some(vec!["read", "write"])),
        ("and one is not granted", 5_000, "read", Some(vec!["read"])),
        ("and none is", 13_000, "", Some(vec![])),
        ("longer than a token", 20_000, "read write", None),
    ] {
        world.server.answer_besides(list(bytes, with));
        assert!(world.connect(code_given).await.is_ok(), "{code_given}");
        let found = kept(&world).await;
        if code_given == "whole" {
            assert_eq!(found.unwrap().len(), 51);
        } else {
            let expected: Option<Vec<_>> =
                expected.map(|all| all.into_iter().map(str::to_owned).collect());
            assert_eq!(found, expected, "{code_given}");
        }
    }
    assert_eq!(world.revoked(), Vec::<String>::new());
}
