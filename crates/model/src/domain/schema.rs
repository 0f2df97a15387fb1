//! The JSON Schema of the domain file, from the same types that read it.

use super::Domain;

/// `docs/schema/domain.schema.json`, to the byte: for editors and for `ringmail domain schema`.
pub fn schema() -> String {
    let mut schema = schemars::schema_for!(Domain);
    schema.insert("$id".to_owned(), "ringmail.domain-file/1".into());
    let mut text = serde_json::to_string_pretty(&schema).unwrap_or_default();
    text.push('\n');
    text
}
