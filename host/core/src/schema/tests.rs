//! What a schema says of a value, and what neither a schema nor a value can make a check cost.

use jsonschema::PatternOptions;
use proptest::prelude::*;
use serde_json::json;

use super::*;

fn verdict(schema: &Value, value: &str) -> Verdict {
    let schema = Schema::compile(schema).unwrap();
    schema.check_text(value).unwrap()
}

fn refused(schema: &Value) -> InvalidSchema {
    Schema::compile(schema).unwrap_err()
}

fn problems(schema: &Value, value: &str) -> String {
    verdict(schema, value).to_string()
}

#[test]
fn a_problem_names_its_place_and_quotes_little() {
    let schema = json!({"type": "object", "required": ["id"], "additionalProperties": false,
        "properties": {"id": {"type": "integer"}, "tags": {"items": {"type": "string"}}}});
    assert_eq!(verdict(&schema, r#"{"id":1,"tags":["a"]}"#), Verdict::Fits);
    assert_eq!(problems(&schema, "{}"), r#""id" is a required property"#);
    assert_eq!(problems(&schema, r#"{"id":"x"}"#), r#"/id: "x" is not of type "integer""#);
    assert_eq!(problems(&schema, r#"{"id":1,"m":2}"#), r#""m" is no member that is allowed here"#);
    assert_eq!(
        problems(&schema, r#"{"id":1,"tags":["a",7]}"#),
        r#"/tags/1: 7 is not of type "string""#
    );
    let long = format!(r#"{{"id":"{}"}}"#, "x".repeat(1 << 20));
    assert!(problems(&schema, &long).len() < 200);
    let many = format!(r#"{{"id":1,"tags":[{}0]}}"#, "0,".repeat(100_000));
    let Verdict::Misfits(found) = verdict(&schema, &many) else { panic!("it does not fit") };
    assert_eq!(found.len(), PROBLEMS_MAX);
}

#[test]
fn a_mistake_in_a_schema_names_its_place() {
    for (schema, pointer, problem) in [
        (json!({"type": 7}), "", "`type` is one of"),
        (json!({"properties": {"a/b": {"type": "text"}}}), "/properties/a~1b", "`type` is one of"),
        (json!({"anyOf": [true, {"minimum": "1"}]}), "/anyOf/1", "`minimum` is a number"),
        (json!({"items": {"pattern": "("}}), "/items", "`pattern` is no pattern"),
        (json!({"$ref": "http://127.0.0.1:9/x.json"}), "", "another document"),
        (json!({"$ref": "#/$defs/none"}), "", "which is not there"),
        (json!({"$defs": {"a": {"required": "id"}}}), "/$defs/a", "`required` is a list of names"),
        (json!({"allOf": []}), "", "`allOf` is empty"),
        (json!({"items": [true]}), "/items", "is no schema"),
        (json!({"$schema": "urn:x"}), "", "a dialect that is not known"),
        (json!({"properties": {"a": {"$dynamicRef": "#x"}}}), "/properties/a", "does not follow"),
        (json!({"$ref": "#"}), "", "refers to itself"),
        (
            json!({"$defs": {"a": {"anyOf": [{"$ref": "#/$defs/a"}]}}, "$ref": "#/$defs/a"}),
            "",
            "itself",
        ),
    ] {
        let refused = refused(&schema);
        assert!(refused.problem.contains(problem), "{schema}: {refused}");
        if !problem.contains("itself") {
            assert_eq!(refused.pointer, pointer, "{schema}");
        }
    }
}

/// Each level refers twice to the next.
fn doubling(levels: usize, word: &str) -> Value {
    let mut definitions = serde_json::Map::new();
    for level in 0..levels {
        let next = json!({"$ref": format!("#/$defs/{}", level + 1)});
        definitions.insert(level.to_string(), json!({word: [next, next]}));
    }
    definitions.insert(levels.to_string(), json!({"type": "string"}));
    json!({"$defs": definitions, "$ref": "#/$defs/0"})
}

#[test]
fn references_that_double_are_refused() {
    assert_eq!(
        verdict(&doubling(6, "anyOf"), "1234567"),
        verdict(&json!({"anyOf": [false]}), "1").and("1234567")
    );
    for word in ["anyOf", "allOf", "oneOf"] {
        assert!(refused(&doubling(20, word)).problem.contains("run through more than"));
    }
    // A chain is as deep as it is long.
    let chain = |levels: usize| {
        (0..levels).fold(json!({"type": "string"}), |inner, _| json!({"allOf": [inner]}))
    };
    assert!(Schema::compile(&chain(DEPTH_MAX)).is_ok());
    assert!(refused(&chain(DEPTH_MAX + 1)).problem.contains("nests more than"));
}

impl Verdict {
    /// The same verdict on another value.
    fn and(self, value: &str) -> Self {
        let Self::Misfits(problems) = self else { return self };
        let replaced = problems.into_iter().map(|problem| problem.replacen('1', value, 1));
        Self::Misfits(replaced.collect())
    }
}

#[test]
fn schemas_that_double_with_each_level_of_a_value_spend_their_steps() {
    let schema = json!({"$defs": {"tree": {"anyOf": [
        {"items": {"$ref": "#/$defs/tree"}, "type": "array"},
        {"items": {"$ref": "#/$defs/tree"}, "type": ["array", "null"]},
    ]}}, "$ref": "#/$defs/tree"});
    let nested = |levels: usize| format!("{}1{}", "[".repeat(levels), "]".repeat(levels));
    assert!(matches!(verdict(&schema, &nested(5)), Verdict::Misfits(_)));
    assert_eq!(verdict(&schema, &nested(100)), Verdict::Spent);
    // What goes on for ever without a value to look into is refused; what goes with a value ends with it.
    let list = json!({"properties": {"next": {"$ref": "#"}}, "required": ["v"]});
    let linked =
        (0..100).fold("{\"v\":1}".to_owned(), |next, _| format!(r#"{{"v":1,"next":{next}}}"#));
    assert_eq!(verdict(&list, &linked), Verdict::Fits);
}

#[test]
fn steps_are_counted_for_whatever_takes_time() {
    let spent = |schema: Value, value: &str, steps: u64| {
        let schema = Schema::compile(&schema).unwrap();
        schema.check(&Document::read(value).unwrap(), steps) == Verdict::Spent
    };
    let text = format!("\"{}\"", "a".repeat(100_000));
    for schema in
        [json!({"pattern": "^a*$"}), json!({"minLength": 1}), json!({"const": "a".repeat(100_000)})]
    {
        assert!(spent(schema.clone(), &text, 1_000), "{schema}");
        assert!(!spent(schema, &text, 100_000));
    }
    let list = format!("[{}]", (0..10_000).map(|n| n.to_string()).collect::<Vec<_>>().join(","));
    for schema in [
        json!({"items": true}),
        json!({"maxItems": 1}),
        json!({"uniqueItems": true}),
        json!({"contains": {"const": -1}}),
        json!({"unevaluatedItems": {"type": "number"}}),
    ] {
        assert!(spent(schema.clone(), &list, 1_000), "{schema}");
        assert!(!spent(schema, &list, 1_000_000));
    }
    let object: Vec<_> = (0..10_000).map(|n| format!("\"k{n}\":{n}")).collect();
    let object = format!("{{{}}}", object.join(","));
    for schema in [
        json!({"required": ["x"]}),
        json!({"minProperties": 1}),
        json!({"propertyNames": {"maxLength": 9}}),
        json!({"patternProperties": {"^k": {"type": "integer"}}}),
        json!({"unevaluatedProperties": {"type": "integer"}}),
    ] {
        assert!(spent(schema.clone(), &object, 1_000), "{schema}");
        assert!(!spent(schema, &object, 1_000_000));
    }
    let digits = "9".repeat(1 << 20);
    assert!(spent(json!({"type": "integer"}), &digits, 1_000));
    // One member with a long name, and escapes in it: undone for whoever asks for another.
    let name = format!("{{\"{}\":1}}", r"\u0061".repeat(20_000));
    for schema in [
        json!({"required": ["x"]}),
        json!({"dependentRequired": {"x": ["y"]}}),
        json!({"properties": {"x": true}}),
        json!({"properties": {"x": true}, "unevaluatedProperties": true}),
        json!({"const": {"x": 1}}),
    ] {
        assert!(spent(schema.clone(), &name, 1_000), "{schema}");
        assert!(!spent(schema, &name, 100_000));
    }
}

#[test]
fn a_check_is_asked_before_each_part_and_ends_where_it_is_told_to() {
    let schema = Schema::compile(&json!({"items": {"type": "integer"}})).unwrap();
    let list = format!("[{}1]", "1,".repeat(100_000));
    let document = Document::read(&list).unwrap();
    let mut parts = Vec::new();
    let mut check = |steps_max: u64, parts_max: usize| {
        parts.clear();
        let verdict = schema.check_in_parts(&document, steps_max, &mut |steps| {
            parts.push(steps);
            parts.len() <= parts_max
        });
        (verdict, parts.clone())
    };
    let (verdict, parts) = check(10_000_000, usize::MAX);
    assert_eq!(verdict, Verdict::Fits);
    assert!(parts.len() > 3 && parts.iter().all(|steps| *steps == PART_STEPS), "{parts:?}");
    assert_eq!(check(10_000_000, 2), (Verdict::Spent, vec![PART_STEPS; 3]));
    let (verdict, parts) = check(PART_STEPS + 10, usize::MAX);
    assert_eq!((verdict, parts.len()), (Verdict::Spent, 2));
    // One match of a long text is one part.
    let schema = Schema::compile(&json!({"pattern": "^a*$"})).unwrap();
    let text = format!("\"{}\"", "a".repeat(4 << 20));
    let (document, mut most) = (Document::read(&text).unwrap(), 0);
    let mut go_on = |steps| {
        most = most.max(steps);
        true
    };
    assert_eq!(schema.check_in_parts(&document, 10_000_000, &mut go_on), Verdict::Fits);
    assert!(most > PART_STEPS, "{most}");
}

#[test]
fn a_number_without_a_fraction_is_an_integer_however_large_it_is() {
    let schema = json!({"type": "integer"});
    for (value, fits) in [("1e400", true), ("-12.50e1", true), ("1e-400", false), ("12.5", false)] {
        assert_eq!(verdict(&schema, value) == Verdict::Fits, fits, "{value}");
    }
}

/// Fails if two numbers are one because no float tells them apart.
#[test]
fn numbers_are_compared_by_their_digits_and_not_as_floats() {
    let fits = |schema: Value, value: &str| verdict(&schema, value) == Verdict::Fits;
    let unique = |value: &str| fits(json!({"uniqueItems": true}), value);
    assert!(unique("[1e400,1e500,-1e400,1e-400,1e-500,0]"));
    assert!(unique("[0.1,0.10000000000000000001,1e40,10000000000000000000000000000000000000001]"));
    assert!(unique(r#"[{"a":[1e400]},{"a":[1e401]}]"#));
    for same in ["[1e400,10e399]", "[1,1e400,100e398]", "[0,-0e500]", "[1e-400,0.1e-399]"] {
        assert!(!unique(same), "{same}");
    }
    assert!(!fits(json!({"maximum": 1e308}), "1e309") && fits(json!({"maximum": 0}), "-1e-400"));
    assert!(
        !fits(json!({"exclusiveMinimum": 0}), "0e9")
            && fits(json!({"exclusiveMinimum": 0}), "1e-400")
    );
    assert!(!fits(json!({"const": 0.1}), "0.10000000000000000001"));
    assert!(fits(json!({"multipleOf": 7}), "7e400") && !fits(json!({"multipleOf": 7}), "1e400"));
}

/// However long a number is, what is done with it is counted.
#[test]
fn long_numbers_take_steps() {
    let long = format!("[{0}1,{0}2]", "9".repeat(1 << 18));
    let document = Document::read(&long).unwrap();
    for schema in [
        json!({"uniqueItems": true}),
        json!({"items": {"minimum": 1}}),
        json!({"items": {"multipleOf": 7}}),
        json!({"items": {"type": "integer"}}),
    ] {
        let schema = Schema::compile(&schema).unwrap();
        assert_eq!(schema.check(&document, 10_000), Verdict::Spent);
        assert_ne!(schema.check(&document, 10_000_000), Verdict::Spent);
    }
}

/// Schemas that look at one value lead to one another, at each level of a value that has levels.
#[test]
fn what_unevaluated_rules_look_at_is_bounded_as_values_are() {
    let mut defs = serde_json::Map::new();
    for level in 1..60 {
        let next = json!({"$ref": format!("#/$defs/x{}", level + 1)});
        defs.insert(format!("x{level}"), json!({"anyOf": [true, next]}));
    }
    defs.insert("x60".to_owned(), json!({"contains": {"$ref": "#"}}));
    let schema =
        json!({"anyOf": [true, {"$ref": "#/$defs/x1"}], "unevaluatedItems": true, "$defs": defs});
    let Ok(schema) = Schema::compile(&schema) else { return };
    let value = format!("{}{}", "[".repeat(100), "]".repeat(100));
    let document = Document::read(&value).unwrap();
    assert!(matches!(schema.check(&document, 10_000_000), Verdict::Spent));
}

#[test]
fn older_dialects_are_read_where_they_are_named() {
    let old = "http://json-schema.org/draft-07/schema#";
    let fits = |schema: Value, value: &str| verdict(&schema, value) == Verdict::Fits;
    let pair =
        json!({"$schema": old, "items": [{"type": "string"}], "additionalItems": {"type": "null"}});
    assert!(fits(pair.clone(), r#"["a",null]"#) && !fits(pair, r#"["a",1]"#));
    // What stands beside a reference is ignored.
    let beside = json!({"$schema": old, "definitions": {"a": {"type": "string"}},
        "properties": {"x": {"$ref": "#/definitions/a", "maxLength": 1}}});
    assert!(fits(beside, r#"{"x":"long"}"#));
    let four = json!({"$schema": "http://json-schema.org/draft-04/schema#", "minimum": 1, "exclusiveMinimum": true});
    assert!(!fits(four.clone(), "1") && fits(four, "2"));
    let needs = json!({"$schema": old, "dependencies": {"a": ["b"], "c": {"required": ["d"]}}});
    assert!(!fits(needs.clone(), r#"{"a":1}"#) && !fits(needs.clone(), r#"{"c":1}"#));
    assert!(fits(needs, r#"{"a":1,"b":1,"c":1,"d":1}"#));
}

#[test]
fn escapes_and_spellings_do_not_matter() {
    let schema = json!({"properties": {"aé": {"enum": [1, "x\n", {"p": [1], "q": null}]}}, "additionalProperties": false});
    for value in
        [r#"{"a\u00e9":1.0}"#, r#"{"aé":"\u0078\u000a"}"#, r#"{"aé":{"q":null,"p":[10e-1]}}"#]
    {
        assert_eq!(verdict(&schema, value), Verdict::Fits, "{value}");
    }
    let unique = json!({"uniqueItems": true});
    assert!(matches!(
        verdict(&unique, r#"[{"a":1,"b":2},1,{"b":2.0,"\u0061":1}]"#),
        Verdict::Misfits(_)
    ));
    assert_eq!(
        verdict(
            &unique,
            r#"[1,"1",[1],{"1":1},null,false,0,12345678901234567890,12345678901234567891]"#
        ),
        Verdict::Fits
    );
}

#[test]
fn anchors_identities_and_escaped_pointers_are_followed() {
    for reference in ["#name", "#/$defs/a~1b%25", "https://a.com/s#name"] {
        let schema = json!({"$id": "https://a.com/s", "$ref": reference,
            "$defs": {"a/b%": {"$anchor": "name", "type": "string"}}});
        assert_eq!(verdict(&schema, "\"x\""), Verdict::Fits);
        assert!(matches!(verdict(&schema, "1"), Verdict::Misfits(_)), "{reference}");
    }
}

// === against an implementation without bounds ===

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(Value::from),
        (-3_i64..4).prop_map(Value::from),
        Just(json!(1.5)),
        Just(json!(2.0)),
        "[ab]{0,3}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 20, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[abc]", inner, 0..4).prop_map(|members| json!(members)),
        ]
    })
}

fn schema() -> impl Strategy<Value = Value> {
    let types = prop::sample::select(compile::words::TYPES.to_vec());
    let leaf = prop_oneof![
        any::<bool>().prop_map(Value::from),
        types.clone().prop_map(|name| json!({"type": name})),
        prop::collection::vec(types, 1..3).prop_map(|mut names| {
            names.sort_unstable();
            names.dedup();
            json!({"type": names})
        }),
        (-2_i64..3).prop_map(|n| json!({"minimum": n, "exclusiveMaximum": n + 2})),
        (1_i64..4).prop_map(|n| json!({"multipleOf": n})),
        (0_u64..3).prop_map(|n| json!({"minLength": n, "maxItems": n, "minProperties": n})),
        (0_u64..3).prop_map(|n| json!({"maxLength": n, "minItems": n, "maxProperties": n})),
        prop::sample::select(vec!["^a", "b$", "a.b?", "^[ab]{2}$", r"\w"])
            .prop_map(|p| json!({"pattern": p})),
        prop::collection::vec(value(), 1..4).prop_map(|all| json!({"enum": all})),
        value().prop_map(|value| json!({"const": value})),
        prop::collection::btree_set("[abc]", 0..3).prop_map(|names| json!({"required": names})),
        Just(json!({"uniqueItems": true})),
        Just(json!({"dependentRequired": {"a": ["b"]}})),
        Just(json!({"$ref": "#/$defs/leaf"})),
    ];
    leaf.prop_recursive(4, 40, 4, |inner| {
        let list = || prop::collection::vec(inner.clone(), 1..4);
        let named = || prop::collection::btree_map("[abc]", inner.clone(), 1..3);
        let one = || inner.clone();
        prop_oneof![
            list().prop_map(|all| json!({"allOf": all})),
            list().prop_map(|all| json!({"anyOf": all})),
            list().prop_map(|all| json!({"oneOf": all})),
            one().prop_map(|not| json!({"not": not})),
            (one(), one(), one()).prop_map(|(a, b, c)| json!({"if": a, "then": b, "else": c})),
            (named(), one()).prop_map(|(named, rest)| json!({"properties": named, "additionalProperties": rest})),
            (one(), one()).prop_map(|(some, rest)| json!({"patternProperties": {"^[ab]": some}, "additionalProperties": rest})),
            (list(), one()).prop_map(|(first, rest)| json!({"prefixItems": first, "items": rest})),
            (one(), 0_u64..2, 1_u64..3).prop_map(|(some, min, max)| json!({"contains": some, "minContains": min, "maxContains": max})),
            one().prop_map(|names| json!({"propertyNames": names})),
            one().prop_map(|some| json!({"dependentSchemas": {"a": some}})),
            (named(), list(), one()).prop_map(|(named, all, rest)| json!({"properties": named, "anyOf": all, "unevaluatedProperties": rest})),
            (list(), list(), one()).prop_map(|(first, all, rest)| json!({"prefixItems": first, "allOf": all, "unevaluatedItems": rest})),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn means_what_another_implementation_says(schema in schema(), values in prop::collection::vec(value(), 1..6)) {
        let schema = json!({"$defs": {"leaf": {"type": ["string", "array"], "maxItems": 1}}, "allOf": [schema]});
        let other = jsonschema::options()
            .with_pattern_options(PatternOptions::regex())
            .build(&schema)
            .unwrap();
        let ours = Schema::compile(&schema).unwrap();
        for value in values {
            let text = value.to_string();
            let fits = ours.check_text(&text).unwrap() == Verdict::Fits;
            prop_assert_eq!(fits, other.is_valid(&value), "{} against {}", text, schema);
        }
    }
}
