//! The JSON Schema of an envelope in the JSON format, generated from the type.

use serde_json::{Map, Value, json};

use super::{ENVELOPE_VERSION, Envelope, SPEC_VERSION};

/// JSON Schema 2020-12 of what [`json::write`](super::json::write) writes. The fields come from [`Envelope`]; the constants,
/// data in its two forms and the rule for extensions are added here.
#[must_use]
pub fn schema() -> Value {
    let mut schema = schemars::schema_for!(Envelope).to_value();
    let Some(object) = schema.as_object_mut() else {
        return schema;
    };
    object.insert("title".to_owned(), json!("Headgate envelope, version 1"));
    object.insert(
        "description".to_owned(),
        json!("A CloudEvents 1.0.2 event in the JSON format, as every sink of Headgate writes it in structured mode."),
    );
    if let Some(properties) = object.get_mut("properties").and_then(Value::as_object_mut) {
        add_properties(properties);
    }
    if let Some(required) = object.get_mut("required").and_then(Value::as_array_mut) {
        required.insert(0, json!("specversion"));
        required.push(json!("envelopeversion"));
    }
    object.insert(
        "additionalProperties".to_owned(),
        json!({
            "description": "An extension: an attribute that the profile does not know. Consumers ignore those they do not know.",
            "type": ["string", "integer", "boolean"],
        }),
    );
    object.insert(
        "propertyNames".to_owned(),
        json!({ "pattern": "^([a-z0-9]+|data_base64)$" }),
    );
    object.insert(
        "not".to_owned(),
        json!({ "required": ["data", "data_base64"] }),
    );
    schema
}

fn add_properties(properties: &mut Map<String, Value>) {
    for (name, property) in [
        (
            "specversion",
            json!({ "description": "The CloudEvents version.", "const": SPEC_VERSION }),
        ),
        (
            "envelopeversion",
            json!({ "description": "The version of this profile.", "const": ENVELOPE_VERSION }),
        ),
        (
            "data",
            json!({ "description": "The payload: any JSON value if `datacontenttype` declares JSON, else text as a string." }),
        ),
        (
            "data_base64",
            json!({ "description": "The payload where it is not text.", "type": "string", "contentEncoding": "base64" }),
        ),
    ] {
        properties.insert(name.to_owned(), property);
    }
}
