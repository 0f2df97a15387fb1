//! The description of the HTTP interface is that of the routes, and the routes are there.

use std::path::Path;

use ringmail_trust::manager::openapi;
use serde_json::{Value, json};

use super::harness::{Served, World, refused};

/// `docs/openapi/trust.v1.json` holds the description; RINGMAIL_UPDATE=1 writes what changed.
#[test]
fn the_description_is_that_of_the_routes() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/openapi/trust.v1.json");
    let made = serde_json::to_string_pretty(&openapi()).unwrap() + "\n";
    if std::env::var_os("RINGMAIL_UPDATE").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &made).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(kept == made, "{} is stale: run with RINGMAIL_UPDATE=1", path.display());
}

#[test]
fn every_reference_in_the_description_leads_somewhere() {
    fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
        match value {
            Value::Object(object) => {
                found.extend(object.get("$ref").and_then(Value::as_str));
                object.values().for_each(|value| references(value, found));
            }
            Value::Array(all) => all.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }
    let (openapi, mut found) = (openapi(), Vec::new());
    references(&openapi, &mut found);
    assert!(found.len() > 20, "{found:?}");
    for reference in found {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(openapi.pointer(pointer).is_some(), "{reference}");
    }
}

/// What is described is there, and asks who it is before it reads a body.
#[tokio::test(flavor = "multi_thread")]
async fn every_route_that_is_described_is_there() {
    let world = World::new();
    let served = Served::start(&world).await;
    let mut operator = served.connect(Some(&world.client("op"))).await;
    let mut stranger = served.connect(None).await;
    let openapi = openapi();
    for (path, methods) in openapi["paths"].as_object().unwrap() {
        let (path, open) =
            (path.replace("{name}", "h1"), path.contains("enrol") || path.contains("bundle"));
        for method in methods.as_object().unwrap().keys() {
            let (known, strange) = match method.as_str() {
                "get" => (operator.get::<Value>(&path).await, stranger.get::<Value>(&path).await),
                _ => (
                    operator.post::<Value>(&path, &json!({})).await,
                    stranger.post::<Value>(&path, &json!({})).await,
                ),
            };
            if let Err(error) = known {
                assert_ne!(refused::<()>(Err(error)).1, "not-found", "{method} {path}");
            }
            if !open {
                assert_eq!(refused(strange), (401, "no-certificate".to_owned()), "{method} {path}");
            }
        }
    }
    let nowhere = refused(operator.get::<Value>("/v1/nowhere").await);
    assert_eq!(nowhere, (404, "not-found".to_owned()));
    let below = refused(operator.post::<Value>("/v1/hosts/a/b/word", &json!({})).await);
    assert_eq!(below, (404, "not-found".to_owned()));
}
