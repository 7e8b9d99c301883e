//! The OpenAPI document: complete, valid where it refers to itself, and the one that is committed.

use std::collections::BTreeSet;
use std::path::Path;

use keyway_api::contract::endpoint::Method;
use keyway_api::contract::{ENDPOINTS, Endpoint};
use keyway_api::openapi;
use serde_json::Value;

#[test]
fn the_committed_document_is_the_one_served() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/openapi.json");
    if std::env::var_os("UPDATE_OPENAPI").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, openapi::text()).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == openapi::text(),
        "docs/openapi.json is not what the contract says; review and commit the outcome of\n\
         UPDATE_OPENAPI=1 cargo test -p keyway-api --test api document",
    );
}

#[test]
fn every_endpoint_is_in_the_document_and_nothing_else_is() {
    let document: Value = serde_json::from_str(openapi::text()).unwrap();
    assert_eq!(document["openapi"], "3.1.0");
    let mut described = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            described.insert((method.to_uppercase(), path.clone()));
        }
    }
    let declared: Vec<_> = ENDPOINTS.iter().flat_map(|endpoint| operations(endpoint)).collect();
    let once: BTreeSet<_> = declared.iter().cloned().collect();
    assert_eq!(declared.len(), once.len(), "no endpoint is there twice");
    assert_eq!(described, once);
}

/// Methods and path of an endpoint as the document has them: it knows no word for any method, nor for a path's rest.
fn operations(endpoint: &Endpoint) -> Vec<(String, String)> {
    let methods = match endpoint.method {
        Method::Any => vec!["GET", "PUT", "POST", "PATCH", "DELETE"],
        method => vec![method.as_str()],
    };
    let path = endpoint.path.replace("{*", "{");
    methods.into_iter().map(|method| (method.to_owned(), path.clone())).collect()
}

#[test]
fn every_reference_leads_somewhere() {
    let document: Value = serde_json::from_str(openapi::text()).unwrap();
    let mut references = Vec::new();
    collect(&document, &mut references);
    assert!(!references.is_empty());
    for reference in references {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
}

#[test]
fn every_path_parameter_is_described() {
    let document: Value = serde_json::from_str(openapi::text()).unwrap();
    for endpoint in ENDPOINTS {
        for (method, path) in operations(endpoint) {
            let operation = &document["paths"][path][method.to_lowercase()];
            let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
            let named: Vec<_> = parameters
                .iter()
                .filter(|parameter| parameter["in"] == "path")
                .map(|parameter| parameter["name"].as_str().unwrap())
                .collect();
            assert_eq!(named, endpoint.path_names().collect::<Vec<_>>(), "{}", endpoint.name);
        }
    }
}

fn collect(value: &Value, references: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                match value {
                    Value::String(text) if key == "$ref" => references.push(text.clone()),
                    other => collect(other, references),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, references)),
        _ => {}
    }
}
