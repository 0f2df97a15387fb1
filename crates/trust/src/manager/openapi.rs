//! The description of the HTTP interface, in OpenAPI 3.1, made from the routes themselves.

use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::api::ErrorAnswer;
use super::routes::routes;

/// The description; `docs/openapi/trust.v1.json` holds it.
pub fn openapi() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut generator = SchemaGenerator::new(settings);
    let error = generator.subschema_for::<ErrorAnswer>();
    let mut paths: Map<String, Value> = Map::new();
    for route in routes() {
        let mut parameters = Vec::new();
        if route.path.contains("{name}") {
            parameters.push(parameter("name", "path", &json!({ "type": "string" })));
        }
        for name in ["first", "count"] {
            if route.summary.contains(&format!("{name}=N")) {
                let number = json!({ "type": "integer", "minimum": 0 });
                parameters.push(parameter(name, "query", &number));
            }
        }
        let mut operation = json!({
            "summary": route.summary,
            "description": route.access.words(),
            "parameters": parameters,
            "responses": {
                "200": content("Done", &(route.gives)(&mut generator)),
                "default": content("Refused, or failed", &error),
            },
        });
        if let Some(takes) = route.takes {
            let mut body = content("", &takes(&mut generator));
            body["required"] = true.into();
            if let Some(body) = body.as_object_mut() {
                body.remove("description");
            }
            operation["requestBody"] = body;
        }
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        path[route.method.as_str().to_ascii_lowercase()] = operation;
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "ringmail Verification Manager",
            "version": "1",
            "description": "Over TLS 1.3 with client certificates of the domain. Roles are those of the certificate: an \
                agent's (spiffe://DOMAIN/agent/HOST), a holder's (…/host/NAME, …/element/NAME), or a client's \
                (…/client/NAME) whom the policy names operator or auditor.",
        },
        "paths": paths,
        "components": { "schemas": generator.take_definitions(true) },
    })
}

fn parameter(name: &str, place: &str, schema: &Value) -> Value {
    json!({ "name": name, "in": place, "required": place == "path", "schema": schema })
}

fn content(description: &str, schema: &schemars::Schema) -> Value {
    json!({
        "description": description,
        "content": { "application/json": { "schema": schema } },
    })
}
