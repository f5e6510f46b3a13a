//! Both ways of validation say the same.

use headgate_sdk::{Data, Envelope, Timestamp};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::SchemaFile;

fn loaded(schema: &Value) -> Result<SchemaFile, String> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("s.json"), schema.to_string()).unwrap();
    let file = SchemaFile::from(std::path::PathBuf::from("s.json"));
    file.load(folder.path()).map(|()| file)
}

fn schema(schema: &Value) -> SchemaFile {
    loaded(schema).unwrap()
}

/// The pointer to what is wrong, `None` if nothing is.
fn wrong(schema: &SchemaFile, data: &str) -> Option<String> {
    let data = Data::opaque(data.to_owned());
    let mut event = Envelope::new("1", "urn:s", "a.v1", Timestamp::UNIX_EPOCH, data);
    schema
        .check(&mut event)
        .err()
        .map(|invalid| format!("{}: {}", invalid.pointer, invalid.message))
}

#[test]
fn a_number_that_no_float_holds_is_still_a_number() {
    let schema =
        schema(&json!({"properties": {"n": {"type": "number"}, "i": {"type": "integer"}}}));
    assert_eq!(wrong(&schema, r#"{"n":12345678901234567890123}"#), None);
    assert_eq!(wrong(&schema, r#"{"i":5.0}"#), None);
    assert!(wrong(&schema, r#"{"i":5.5}"#).unwrap().starts_with("/i:"));
    assert!(wrong(&schema, r#"{"n":"1"}"#).unwrap().starts_with("/n:"));
}

#[test]
fn a_name_that_occurs_twice_is_not_valid() {
    let told = wrong(&schema(&json!({})), r#"{"a":1,"a":2}"#);
    assert!(
        told.as_ref().is_some_and(|told| told.contains("twice")),
        "{told:?}"
    );
}

/// What older drafts say otherwise is not read as what it is not.
#[test]
fn a_schema_is_read_as_the_draft_that_it_names() {
    let pair = json!({"items": [{"type": "integer"}, {"type": "string"}]});
    let mut draft_7 = pair.clone();
    draft_7["$schema"] = json!("http://json-schema.org/draft-07/schema#");
    let draft_7 = schema(&draft_7);
    assert_eq!(wrong(&draft_7, r#"[1,"a"]"#), None);
    assert!(wrong(&draft_7, r#"[1,2]"#).unwrap().starts_with("/1:"));
    // Without a name it is 2020-12, which has no such arrays.
    let refused = loaded(&pair).unwrap_err();
    assert!(
        refused.contains("does not compile at `/items`"),
        "{refused}"
    );
    let current = json!({"$schema": "https://json-schema.org/draft/2020-12/schema", "prefixItems": [{"type": "integer"}]});
    assert!(
        wrong(&schema(&current), r#"["a"]"#)
            .unwrap()
            .starts_with("/0:")
    );
}

/// A schema with the keywords that look at values in different ways.
fn keywords() -> Value {
    json!({
        "type": "object",
        "required": ["a"],
        "additionalProperties": {"type": ["integer", "string", "array", "object", "null", "boolean"]},
        "propertyNames": {"maxLength": 2},
        "maxProperties": 4,
        "properties": {
            "a": {"enum": [1, "x", [1, 2], {"b": 1.0}, null, true]},
            "b": {"type": "array", "uniqueItems": true, "items": {"minimum": 0, "multipleOf": 0.5}, "minItems": 1, "contains": {"const": 2}},
            "c": {"$ref": "#"},
            "d": {"minLength": 2, "maxLength": 3, "pattern": "^[xé]"},
            "e": {"if": {"type": "integer"}, "then": {"maximum": 10}, "else": {"type": "string"}}
        }
    })
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(Value::from),
        (-3_i64..13).prop_map(Value::from),
        (-6_i32..6).prop_map(|n| Value::from(f64::from(n) / 2.0)),
        "[xéy]{0,4}".prop_map(Value::from),
        Just(json!([1, 2])),
        Just(json!({"b": 1})),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map("[a-f]", inner, 0..5)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    /// As the validator itself says of a value of serde_json, pointer and sentence.
    #[test]
    fn says_what_the_validator_says(a in value(), rest in value()) {
        let keywords = keywords();
        let mut data = if rest.is_object() { rest } else { json!({"b": rest}) };
        data["a"] = a;
        let expected = jsonschema::draft202012::new(&keywords).unwrap().validate(&data).err();
        let expected = expected.map(|error| format!("{}: {}", error.instance_path(), error.masked()));
        prop_assert_eq!(wrong(&schema(&keywords), &data.to_string()), expected);
    }
}
