//! The JSON Schema of a whole configuration, put together from the types that read it.
//!
//! The schema is the judge of the file, the source of the reference page, and what editors complete from. Therefore the forms that
//! schemars derives are brought into shapes whose violations can be told in one sentence: enums of names become `enum`, an
//! enum with data becomes one object with exactly one key, an optional value may be absent but not empty, and each kind of
//! source and sink is one object with the common keys merged in.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value as Json, json};

use super::model::{Globals, SourceCommon};
use super::tree::{Node, Pointer, Value};
use crate::connectors::Registration;
use crate::pipeline::Step;
use crate::sink;

const NAME_PATTERN: &str = "^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$";
const NAME_MESSAGE: &str = "a name is made of letters, digits, `-` and `_`, starts with a letter or digit, and has at most 63 characters";

/// The schema of a configuration whose sources may be of the types of `connectors`.
pub fn schema(connectors: &[Registration]) -> Json {
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    let mut defs = Map::new();

    let source_common = object::<SourceCommon>(&mut generator);
    let sources = kinds(
        "source",
        &source_common,
        connectors
            .iter()
            .map(|connector| {
                (
                    connector.name.to_owned(),
                    Json::from((connector.schema)(&mut generator)),
                )
            })
            .collect(),
        &mut defs,
    );

    let sink_common = object::<sink::Common>(&mut generator);
    let sink_kinds = variants(&mut generator);
    let one_sink = kinds("sink", &sink_common, sink_kinds, &mut defs);

    let steps = json!({ "type": "array", "items": generator.subschema_for::<Step>() });

    let mut root = object::<Globals>(&mut generator);
    let mut properties = root
        .remove("properties")
        .and_then(into_object)
        .unwrap_or_default();
    properties.insert(
        "sources".to_owned(),
        named(
            sources,
            "Where events come from, each under a name of its own.",
        ),
    );
    properties.insert(
        "pipelines".to_owned(),
        named(steps.clone(), "What happens to events on their way, as lists of steps. `default` serves every source that names none."),
    );
    properties.insert(
        "pipeline".to_owned(),
        with_description(steps, "Short for `pipelines: { default: … }`."),
    );
    properties.insert(
        "sinks".to_owned(),
        named(one_sink.clone(), "Where events go, each under a name of its own. Without any, events go to the embedded log."),
    );
    properties.insert(
        "sink".to_owned(),
        with_description(
            one_sink,
            "Short for a single sink, whose name is then `main`.",
        ),
    );
    root.insert("properties".to_owned(), Json::Object(properties));
    root.insert("additionalProperties".to_owned(), false.into());
    root.insert("title".to_owned(), "Headgate configuration".into());
    root.insert(
        "$schema".to_owned(),
        "https://json-schema.org/draft/2020-12/schema".into(),
    );

    defs.extend(generator.take_definitions(true));
    root.insert("$defs".to_owned(), Json::Object(defs));
    let mut root = Json::Object(root);
    simplify(&mut root);
    root
}

fn object<T: JsonSchema>(generator: &mut SchemaGenerator) -> Map<String, Json> {
    into_object(Json::from(T::json_schema(generator))).unwrap_or_default()
}

fn into_object(json: Json) -> Option<Map<String, Json>> {
    match json {
        Json::Object(map) => Some(map),
        _ => None,
    }
}

fn named(values: Json, description: &str) -> Json {
    json!({
        "type": "object",
        "description": description,
        "propertyNames": { "pattern": NAME_PATTERN, "errorMessage": NAME_MESSAGE },
        "additionalProperties": values,
    })
}

fn with_description(mut schema: Json, description: &str) -> Json {
    schema["description"] = description.into();
    schema
}

/// The sinks' own keys, by `type`: the variants of the enum that reads them.
fn variants(generator: &mut SchemaGenerator) -> Vec<(String, Json)> {
    let schema = Json::from(Schema::from(object::<sink::Kind>(generator)));
    let of = |variant: &Json| {
        let (name, own) = variant.get("properties")?.as_object()?.iter().next()?;
        let own = match own.get("$ref").and_then(Json::as_str) {
            Some(reference) => generator
                .definitions()
                .get(reference.rsplit('/').next()?)?
                .clone(),
            None => own.clone(),
        };
        Some((name.clone(), own))
    };
    schema
        .get("oneOf")
        .and_then(Json::as_array)
        .into_iter()
        .flatten()
        .filter_map(of)
        .collect()
}

/// An object whose `type` decides which keys it may have besides `common`.
fn kinds(
    what: &str,
    common: &Map<String, Json>,
    kinds: Vec<(String, Json)>,
    defs: &mut Map<String, Json>,
) -> Json {
    let names: Vec<Json> = kinds.iter().map(|(name, _)| name.as_str().into()).collect();
    let mut branches = Vec::new();
    for (name, own) in kinds {
        let mut merged = own.as_object().cloned().unwrap_or_default();
        let common_properties = common
            .get("properties")
            .and_then(Json::as_object)
            .cloned()
            .unwrap_or_default();
        let mut properties = common_properties;
        properties["type"] = with_description(json!({ "const": name }), "What kind this is.");
        properties.extend(
            merged
                .remove("properties")
                .and_then(into_object)
                .unwrap_or_default(),
        );
        let required = |map: &Map<String, Json>| {
            map.get("required")
                .and_then(Json::as_array)
                .cloned()
                .unwrap_or_default()
        };
        let mut all_required = required(common);
        all_required.extend(required(&merged));
        merged.insert("type".to_owned(), "object".into());
        merged.insert("properties".to_owned(), Json::Object(properties));
        merged.insert("required".to_owned(), Json::Array(all_required));
        merged.insert("additionalProperties".to_owned(), false.into());
        merged.remove("title");
        let def = format!("{what}.{name}");
        branches.push(json!({
            "if": { "properties": { "type": { "const": name } }, "required": ["type"] },
            "then": { "$ref": format!("#/$defs/{def}") },
        }));
        defs.insert(def, Json::Object(merged));
    }
    let mut schema = json!({
        "type": "object",
        "required": ["type"],
        "properties": { "type": { "type": "string", "enum": names, "description": "What kind this is." } },
    });
    if !branches.is_empty() {
        schema["allOf"] = Json::Array(branches);
    }
    schema
}

/// Brings derived forms into tellable ones, everywhere.
fn simplify(schema: &mut Json) {
    match schema {
        Json::Array(items) => items.iter_mut().for_each(simplify),
        Json::Object(map) => {
            without_null(map);
            names_as_enum(map);
            one_key_of(map);
            map.values_mut().for_each(simplify);
        }
        _ => {}
    }
}

/// An optional value may be absent; present without a value is a mistake.
fn without_null(map: &mut Map<String, Json>) {
    if let Some(Json::Array(types)) = map.get_mut("type") {
        types.retain(|one| one != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            map.insert("type".to_owned(), only);
        }
    }
    if let Some(Json::Array(branches)) = map.get_mut("anyOf") {
        branches.retain(|branch| branch.get("type").is_none_or(|one| one != "null"));
        if let [only] = branches.as_mut_slice()
            && let Json::Object(only) = only.take()
        {
            map.remove("anyOf");
            for (key, value) in only {
                map.entry(key).or_insert(value);
            }
        }
    }
    if map.get("default") == Some(&Json::Null) {
        map.remove("default");
    }
}

/// `oneOf` constants with a description each becomes one `enum`, the descriptions beside it.
fn names_as_enum(map: &mut Map<String, Json>) {
    let Some(Json::Array(branches)) = map.get("oneOf") else {
        return;
    };
    let mut names = Vec::new();
    let mut descriptions = Map::new();
    for branch in branches {
        if let Some(name) = branch.get("const").and_then(Json::as_str) {
            if let Some(description) = branch.get("description") {
                descriptions.insert(name.to_owned(), description.clone());
            }
            names.push(Json::from(name));
        } else if let Some(Json::Array(several)) = branch.get("enum") {
            names.extend(several.iter().cloned());
        } else {
            return;
        }
    }
    map.remove("oneOf");
    map.insert("type".to_owned(), "string".into());
    map.insert("enum".to_owned(), Json::Array(names));
    if !descriptions.is_empty() {
        map.insert("x-enumDescriptions".to_owned(), Json::Object(descriptions));
    }
}

/// `oneOf` objects with a single required key each becomes one object that has exactly one of the keys.
fn one_key_of(map: &mut Map<String, Json>) {
    let Some(Json::Array(branches)) = map.get("oneOf") else {
        return;
    };
    let mut properties = Map::new();
    for branch in branches {
        let (Some(Json::Object(own)), Some(Json::Array(required))) =
            (branch.get("properties"), branch.get("required"))
        else {
            return;
        };
        let (Some((name, schema)), 1, 1) = (own.iter().next(), own.len(), required.len()) else {
            return;
        };
        if schema.get("const").is_some() || schema.get("enum").is_some() {
            return;
        }
        let mut schema = schema.clone();
        if let (Some(description), Json::Object(schema)) = (branch.get("description"), &mut schema)
        {
            schema
                .entry("description")
                .or_insert_with(|| description.clone());
        }
        properties.insert(name.clone(), schema);
    }
    map.remove("oneOf");
    map.insert("type".to_owned(), "object".into());
    map.insert("properties".to_owned(), Json::Object(properties));
    map.insert("additionalProperties".to_owned(), false.into());
    map.insert("minProperties".to_owned(), 1.into());
    map.insert("maxProperties".to_owned(), 1.into());
}

/// Calls `visit` for every node below `root` with the schemas that apply to it.
pub(super) fn walk(root: &Node, schema: &Json, visit: &mut dyn FnMut(&Pointer, &Node, &[&Json])) {
    let mut schemas = Vec::new();
    gather(schema, schema, root, 0, &mut schemas);
    descend(root, &Pointer::default(), schema, &schemas, visit);
}

fn descend<'s>(
    node: &Node,
    pointer: &Pointer,
    root: &'s Json,
    schemas: &[&'s Json],
    visit: &mut dyn FnMut(&Pointer, &Node, &[&Json]),
) {
    visit(pointer, node, schemas);
    let mut below = |step: &str, child: &Node, of: &dyn Fn(&'s Json) -> Option<&'s Json>| {
        let mut applying = Vec::new();
        for schema in schemas.iter().filter_map(|schema| of(schema)) {
            gather(root, schema, child, 0, &mut applying);
        }
        descend(child, &pointer.join(step), root, &applying, visit);
    };
    match &node.value {
        Value::Map(entries) => {
            for (key, child) in entries {
                below(&key.name, child, &|schema| {
                    schema
                        .get("properties")
                        .and_then(|all| all.get(&key.name))
                        .or_else(|| schema.get("additionalProperties"))
                });
            }
        }
        Value::List(items) => {
            for (at, child) in items.iter().enumerate() {
                below(&at.to_string(), child, &|schema| schema.get("items"));
            }
        }
        _ => {}
    }
}

/// All object schemas that `schema` puts on `node`: through references, combinations and conditions.
fn gather<'s>(
    root: &'s Json,
    schema: &'s Json,
    node: &Node,
    depth: usize,
    into: &mut Vec<&'s Json>,
) {
    if depth > 16 || !schema.is_object() {
        return;
    }
    into.push(schema);
    if let Some(target) = schema
        .get("$ref")
        .and_then(Json::as_str)
        .and_then(|reference| follow(root, reference))
    {
        gather(root, target, node, depth + 1, into);
    }
    for combination in ["allOf", "anyOf", "oneOf"] {
        for branch in schema
            .get(combination)
            .and_then(Json::as_array)
            .into_iter()
            .flatten()
        {
            gather(root, branch, node, depth + 1, into);
        }
    }
    if let (Some(condition), Some(then)) = (schema.get("if"), schema.get("then"))
        && condition
            .pointer("/properties/type/const")
            .and_then(Json::as_str)
            == node.get("type").and_then(Node::text)
    {
        gather(root, then, node, depth + 1, into);
    }
}

/// Follows a reference within the schema.
pub(super) fn follow<'s>(root: &'s Json, reference: &str) -> Option<&'s Json> {
    root.pointer(reference.strip_prefix('#')?)
}
