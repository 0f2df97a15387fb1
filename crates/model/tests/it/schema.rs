//! The JSON Schema in the repository is that of the types.

use ringmail_model::domain;

use crate::golden;

#[test]
fn the_committed_schema_is_up_to_date() {
    let path = golden::repository_path("docs/schema/domain.schema.json");
    if let Err(difference) = golden::compare(&path, &domain::schema()) {
        panic!("{difference}");
    }
}

/// Unknown keys are refused by the schema as they are by the parser.
#[test]
fn every_object_of_the_schema_is_closed() {
    let schema: serde_json::Value = serde_json::from_str(&domain::schema()).expect("JSON");
    let definitions = schema["$defs"].as_object().expect("definitions");
    let objects = definitions.iter().filter(|(_, d)| d["type"] == "object");
    let open: Vec<&String> =
        objects.filter(|(_, d)| d["additionalProperties"] != false).map(|(name, _)| name).collect();
    assert!(open.is_empty(), "{open:?}");
    assert_eq!(schema["additionalProperties"], false);
}
