//! Inputs against schemas, and what is kept of those.

use serde_json::json;

use super::*;

fn payer(tenant: &str) -> Payer {
    Payer::Tenant("dev".parse().unwrap(), tenant.parse().unwrap())
}

impl InputSchemas {
    async fn of(&self, release: &str, schema: &Value, input: &str) -> Result<String, Fault> {
        let (release, action) = (Digest::of(release.as_bytes()), "go".parse().unwrap());
        let against = Against { release: &release, action: &action, schema };
        self.hold(&payer("acme"), against, input.to_owned()).await
    }

    fn keeps(&self, release: &str) -> bool {
        self.kept.read().unwrap().releases.contains_key(&Digest::of(release.as_bytes()))
    }
}

#[tokio::test]
async fn inputs_are_held_against_the_schema_of_their_own_release() {
    let schemas = InputSchemas::default();
    let text = json!({"type": "string"});
    for _ in 0..2 {
        assert_eq!(schemas.of("old", &text, "\"x\"").await.unwrap(), "\"x\"");
        let fault = schemas.of("old", &text, "1").await.unwrap_err();
        assert_eq!(fault.code, Code::InputInvalid);
    }
    let number = json!({"type": "number"});
    assert!(schemas.of("new", &number, "1").await.is_ok());
}

#[tokio::test]
async fn a_short_input_that_takes_long_is_still_answered() {
    let schemas = InputSchemas::default();
    // A thousand values that each run through thirty rules.
    let rules: Vec<_> = (0..30).map(|n| json!({"not": {"const": n}})).collect();
    let schema = json!({"items": {"allOf": rules}});
    let input = |last: &str| format!("[{}{last}]", "99,".repeat(1_000));
    assert!(schemas.of("one", &schema, &input("99")).await.is_ok());
    let fault = schemas.of("one", &schema, &input("7")).await.unwrap_err();
    assert!(fault.detail.contains("/1000"), "{}", fault.detail);
}

/// What it takes doubles with each level of the input.
fn tree() -> Value {
    json!({"$defs": {"tree": {"anyOf": [
        {"items": {"$ref": "#/$defs/tree"}, "type": "array"},
        {"items": {"$ref": "#/$defs/tree"}, "type": ["array", "null"]},
    ]}}, "$ref": "#/$defs/tree"})
}

/// All steps, and not so deep that it is refused for that.
fn deep() -> String {
    format!("{}1{}", "[".repeat(60), "]".repeat(60))
}

#[tokio::test]
async fn an_input_that_takes_too_long_is_refused() {
    let schemas = InputSchemas::default();
    let fault = schemas.of("one", &tree(), &deep()).await.unwrap_err();
    assert_eq!(fault.code, Code::InputInvalid);
    assert!(fault.detail.contains("steps"), "{}", fault.detail);
}

/// Held by the order of answers and by no clock: fails if long checks are one queue for all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_tenants_long_checks_do_not_make_another_wait() {
    let schemas = Arc::new(InputSchemas::default());
    schemas.of("one", &tree(), "[null]").await.unwrap();
    let check = |tenant: &str, input: String| {
        let (schemas, payer) = (Arc::clone(&schemas), payer(tenant));
        async move {
            let (release, action) = (Digest::of(b"one"), "go".parse().unwrap());
            let schema = tree();
            let against = Against { release: &release, action: &action, schema: &schema };
            schemas.hold(&payer, against, input).await
        }
    };
    let heavy: Vec<_> = (0..4).map(|_| tokio::spawn(check("hog", deep()))).collect();
    // Long by its bytes, and cheap.
    let long = format!("[{}null]", "null,".repeat(SHORT_BYTES_MAX / 5));
    for _ in 0..3 {
        check("good", long.clone()).await.unwrap();
    }
    let answered = heavy.iter().filter(|check| check.is_finished()).count();
    assert!(answered < 3, "{answered} of 4 dear checks of another tenant went first");
    for check in heavy {
        assert_eq!(check.await.unwrap().unwrap_err().code, Code::InputInvalid);
    }
}

#[tokio::test]
async fn those_that_are_not_used_are_compiled_again_and_no_others() {
    let schemas = InputSchemas::default();
    // A megabyte each.
    let schema = json!({"enum": ["x".repeat(1 << 20)]});
    let often = json!({"type": "number"});
    let count = 2 * (KEPT_BYTES_MAX >> 20);
    let mut most = 0;
    for number in 0..count {
        schemas.of("often", &often, "1").await.unwrap();
        schemas.of(&number.to_string(), &schema, "1").await.unwrap_err();
        let kept = schemas.kept.read().unwrap();
        let entries = kept.releases.values().flat_map(HashMap::values);
        assert_eq!(kept.bytes, entries.map(|entry| entry.bytes).sum::<usize>());
        assert!(kept.bytes <= KEPT_BYTES_MAX);
        most = most.max(kept.bytes);
    }
    assert!(most > STAY_BYTES, "{most}");
    assert!(schemas.keeps("often"), "used all the while");
    assert!(schemas.keeps(&(count - 1).to_string()) && schemas.keeps(&(count - 10).to_string()));
    assert!(!schemas.keeps("0") && !schemas.keeps("10"));
}
