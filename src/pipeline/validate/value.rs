//! VRL's value as the validator sees JSON, so that data which a program parsed is not parsed again to be validated.

use std::borrow::Cow;
use std::collections::btree_map;

use jsonschema::json::{Array, Json, JsonNumber, Node, NodeIdentity, Object, cmp};
use jsonschema::types::JsonType;
use serde_json::Number;
use vrl::value::{KeyString, ObjectMap, Value};

/// The representation. Its values come from JSON text, so that they hold no instants and no expressions.
#[derive(Debug)]
pub(super) struct Parsed;

/// A number of VRL.
#[derive(Debug, Clone, Copy)]
pub(super) enum Num {
    /// A whole one.
    Integer(i64),
    /// Any other; also `5.0`, which JSON Schema calls an integer all the same.
    Float(f64),
}

/// A member of an object.
type Member<'a> = (&'a str, &'a Value);
/// Its members one after the other.
type Members<'a> = std::iter::Map<
    btree_map::Iter<'a, KeyString, Value>,
    fn((&'a KeyString, &'a Value)) -> Member<'a>,
>;

impl Json for Parsed {
    type Node<'a> = &'a Value;
    type PreparedKey = KeyString;
    type StringBuffer = Option<Value>;

    // Its objects are B-trees as those of serde_json, for which the validator uses the same figure.
    const KEYS_PER_LOOKUP: usize = 2;

    fn prepare_key(key: &str) -> KeyString {
        key.into()
    }

    fn with_string_node<T>(
        buffer: &mut Option<Value>,
        string: &str,
        f: impl FnOnce(&Value) -> T,
    ) -> T {
        f(buffer.insert(string.into()))
    }
}

impl<'a> Node<'a, Parsed> for &'a Value {
    type Object = &'a ObjectMap;
    type Array = &'a [Value];
    type Number = Num;

    fn as_object(&self) -> Option<&'a ObjectMap> {
        match self {
            Value::Object(members) => Some(members),
            _ => None,
        }
    }

    fn as_array(&self) -> Option<&'a [Value]> {
        match self {
            Value::Array(items) => Some(items),
            _ => None,
        }
    }

    fn as_string(&self) -> Option<Cow<'a, str>> {
        match self {
            Value::Bytes(bytes) => Some(String::from_utf8_lossy(bytes)),
            Value::String(text) => Some(Cow::Borrowed(text)),
            _ => None,
        }
    }

    fn as_number(&self) -> Option<Num> {
        match self {
            Value::Integer(number) => Some(Num::Integer(*number)),
            Value::Float(number) => Some(Num::Float(number.into_inner())),
            _ => None,
        }
    }

    fn as_boolean(&self) -> Option<bool> {
        match self {
            Value::Boolean(truth) => Some(*truth),
            _ => None,
        }
    }

    fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }

    fn json_type(&self) -> JsonType {
        match self {
            Value::Null => JsonType::Null,
            Value::Boolean(_) => JsonType::Boolean,
            Value::Integer(_) | Value::Float(_) => JsonType::Number,
            Value::Array(_) => JsonType::Array,
            Value::Object(_) => JsonType::Object,
            Value::Bytes(_) | Value::String(_) | Value::Regex(_) | Value::Timestamp(_) => {
                JsonType::String
            }
        }
    }

    fn equals_value(&self, expected: &serde_json::Value) -> bool {
        match (self, expected) {
            (Value::Bytes(bytes), serde_json::Value::String(text)) => bytes == text.as_bytes(),
            _ => cmp::equal(&self.to_value(), expected),
        }
    }

    fn to_value(&self) -> Cow<'a, serde_json::Value> {
        Cow::Owned(serde_json::to_value(self).unwrap_or_default())
    }

    fn identity(&self) -> Option<NodeIdentity> {
        Some(NodeIdentity::new(std::ptr::from_ref::<Value>(self) as usize))
    }
}

impl<'a> Object<'a, Parsed> for &'a ObjectMap {
    type Node = &'a Value;
    type MemberName = &'a str;
    type MembersIter = Members<'a>;

    fn len(&self) -> usize {
        ObjectMap::len(self)
    }

    fn get(&self, key: &KeyString) -> Option<&'a Value> {
        ObjectMap::get(self, key)
    }

    fn members(&self) -> Members<'a> {
        let member: fn((&'a KeyString, &'a Value)) -> Member<'a> =
            |(key, value)| (key.as_str(), value);
        (*self).iter().map(member)
    }
}

impl<'a> Array<'a, Parsed> for &'a [Value] {
    type Node = &'a Value;
    type ElementsIter = std::slice::Iter<'a, Value>;

    fn len(&self) -> usize {
        <[Value]>::len(self)
    }

    fn elements(&self) -> std::slice::Iter<'a, Value> {
        (*self).iter()
    }
}

impl JsonNumber for Num {
    fn as_u64(&self) -> Option<u64> {
        match *self {
            Self::Integer(number) => u64::try_from(number).ok(),
            Self::Float(_) => None,
        }
    }

    fn as_i64(&self) -> Option<i64> {
        match *self {
            Self::Integer(number) => Some(number),
            Self::Float(_) => None,
        }
    }

    fn as_f64(&self) -> Option<f64> {
        Some(match *self {
            #[expect(
                clippy::cast_precision_loss,
                reason = "what serde_json answers as well"
            )]
            Self::Integer(number) => number as f64,
            Self::Float(number) => number,
        })
    }

    fn as_str(&self) -> Cow<'_, str> {
        Cow::Owned(self.to_number().to_string())
    }

    fn to_number(&self) -> Cow<'_, Number> {
        Cow::Owned(match *self {
            Self::Integer(number) => number.into(),
            Self::Float(number) => Number::from_f64(number).unwrap_or_else(|| 0.into()),
        })
    }

    fn is_integer(&self) -> bool {
        match *self {
            Self::Integer(_) => true,
            Self::Float(number) => number.fract() == 0.0,
        }
    }

    fn is_written_as_integer(&self) -> bool {
        matches!(self, Self::Integer(_))
    }
}
