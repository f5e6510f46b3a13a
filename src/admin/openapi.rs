//! The OpenAPI document of the admin API, made of the same list as its router.

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value as Json, json};

use super::api::{Problem, Status};
use super::routes::{Operation, Said, operations};

/// The document, OpenAPI 3.1.
pub fn openapi() -> Json {
    let settings = SchemaSettings::draft2020_12()
        .with(|settings| settings.definitions_path = "/components/schemas".into());
    let mut generator = settings.into_generator();
    let problem = generator.subschema_for::<Problem>();
    let failure = json!({
        "description": "What is wrong, and what to do.",
        "content": { "application/problem+json": { "schema": problem } },
    });
    let mut paths = Map::new();
    for operation in operations() {
        let described = describe(&operation, &mut generator, &failure);
        let path = paths
            .entry(format!("/api/v1{}", operation.path))
            .or_insert_with(|| json!({}));
        path[operation.method] = described;
    }
    let status = generator.subschema_for::<Status>();
    let status = |what: &str| json!({ "description": what, "content": { "application/json": { "schema": status } } });
    paths.insert(
        "/healthz".to_owned(),
        json!({ "get": { "operationId": "health", "summary": "Whether the process is alive.", "responses": { "200": { "description": "It is." } } } }),
    );
    paths.insert(
        "/readyz".to_owned(),
        json!({ "get": {
            "operationId": "readiness",
            "summary": "Whether the configuration is loaded and the journal accepts. Single sources and sinks show in the body only.",
            "responses": { "200": status("It is ready."), "503": status("It is not; the body says why.") },
        } }),
    );
    paths.insert(
        "/metrics".to_owned(),
        json!({ "get": { "operationId": "metrics", "summary": "Figures for Prometheus.", "responses": { "200": { "description": "Prometheus text format.", "content": { "text/plain": {} } } } } }),
    );
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Headgate admin API",
            "version": "1",
            "description": "Health, figures and control of one gateway. Served on `admin.listen`; keep it off the internet.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "paths": paths,
        "components": { "schemas": generator.take_definitions(true) },
    })
}

fn describe(
    operation: &Operation,
    generator: &mut schemars::SchemaGenerator,
    failure: &Json,
) -> Json {
    let mut parameters: Vec<Json> = operation
        .path
        .split(['{', '}'])
        .skip(1)
        .step_by(2)
        .map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }))
        .collect();
    if let Some(query) = operation.query {
        let schema = query(generator);
        let reference = schema
            .get("$ref")
            .and_then(Json::as_str)
            .and_then(|reference| reference.rsplit('/').next());
        let schema = reference
            .and_then(|name| generator.definitions_mut().remove(name))
            .unwrap_or_default();
        let required = schema
            .get("required")
            .and_then(Json::as_array)
            .cloned()
            .unwrap_or_default();
        for (name, property) in schema
            .get("properties")
            .and_then(Json::as_object)
            .into_iter()
            .flatten()
        {
            let mut property = property.clone();
            let description = property
                .as_object_mut()
                .and_then(|property| property.remove("description"));
            parameters.push(json!({
                "name": name,
                "in": "query",
                "required": required.iter().any(|one| one == name),
                "description": description,
                "schema": property,
            }));
        }
    }
    let success = match operation.answer {
        Said::Nothing => json!({ "204": { "description": "Done." } }),
        Said::Json(schema) => {
            json!({ "200": { "description": "The answer.", "content": { "application/json": { "schema": schema(generator) } } } })
        }
        Said::Lines => {
            json!({ "200": { "description": "One JSON object a line.", "content": { "application/x-ndjson": { "schema": { "type": "string" } } } } })
        }
    };
    let mut responses = success;
    responses["default"] = failure.clone();
    let mut described = json!({ "operationId": operation.name, "summary": operation.summary, "responses": responses });
    if !parameters.is_empty() {
        described["parameters"] = parameters.into();
    }
    if let Some(body) = operation.body {
        described["requestBody"] =
            json!({ "content": { "application/json": { "schema": body(generator) } } });
    }
    described
}
