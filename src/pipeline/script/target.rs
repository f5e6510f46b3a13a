//! An event as a program sees it.

use chrono::DateTime;
use headgate_sdk::envelope::{AttributeValue, ExtensionValue};
use headgate_sdk::{Envelope, Str, Timestamp};
use vrl::compiler::{SecretTarget, Target};
use vrl::path::{OwnedSegment, OwnedTargetPath, PathPrefix};
use vrl::value::{KeyString, ObjectMap, Value};

use super::RunError;
use super::document::Document;

/// Data and attributes, and what the program did to them.
#[derive(Debug)]
pub(super) struct EventTarget {
    document: Document,
    attributes: Value,
    pub(super) data_changed: bool,
    changed_attributes: Vec<KeyString>,
}

impl EventTarget {
    /// An event's attributes, those that `wanted` names, and its data.
    pub(super) fn new(document: Document, event: &Envelope, wanted: impl Fn(&str) -> bool) -> Self {
        let mut attributes = ObjectMap::new();
        event.for_each_attribute(|attribute| {
            if !wanted(attribute.name) {
                return;
            }
            let value = match attribute.value {
                AttributeValue::String(text) => Value::from(text),
                AttributeValue::Integer(number) => Value::Integer(number.into()),
                AttributeValue::Boolean(truth) => Value::Boolean(truth),
                AttributeValue::Timestamp(at) => instant(at),
            };
            attributes.insert(attribute.name.into(), value);
        });
        Self {
            attributes: Value::Object(attributes),
            ..Self::without_attributes(document)
        }
    }

    /// An event's data, for a program that asks for no attributes.
    pub(super) fn without_attributes(document: Document) -> Self {
        Self {
            document,
            attributes: Value::Object(ObjectMap::new()),
            data_changed: false,
            changed_attributes: Vec::new(),
        }
    }

    /// Leaves data that the program did not change with `event`, for the next program.
    pub(super) fn give_back(self, event: &mut Envelope) {
        if !self.data_changed {
            self.document.keep(event);
        }
    }

    /// The data as it is now.
    pub(super) fn into_data(self) -> Value {
        self.document.value
    }

    /// Whether the program changed an attribute.
    pub(super) fn attributes_changed(&self) -> bool {
        !self.changed_attributes.is_empty()
    }

    /// Carries the changed attributes over to `event`.
    pub(super) fn write_attributes(&self, event: &mut Envelope) -> Result<(), RunError> {
        let Value::Object(attributes) = &self.attributes else {
            return Ok(());
        };
        for name in &self.changed_attributes {
            let value = attributes
                .get(name)
                .map(|value| attribute_value(name, value))
                .transpose()?
                .flatten();
            event
                .set_attribute(name.as_str(), value)
                .map_err(|error| RunError::new("invalid_attribute", error.to_string()))?;
        }
        Ok(())
    }

    fn root(&mut self, prefix: PathPrefix) -> &mut Value {
        match prefix {
            PathPrefix::Event => &mut self.document.value,
            PathPrefix::Metadata => &mut self.attributes,
        }
    }

    fn changed(&mut self, path: &OwnedTargetPath) {
        match (path.prefix, path.path.segments.first()) {
            (PathPrefix::Event, _) => self.data_changed = true,
            (PathPrefix::Metadata, Some(OwnedSegment::Field(name))) => {
                if !self.changed_attributes.contains(name) {
                    self.changed_attributes.push(name.clone());
                }
            }
            (PathPrefix::Metadata, _) => {}
        }
    }
}

fn instant(at: Timestamp) -> Value {
    let nanos = u32::try_from(at.subsec_nanosecond().rem_euclid(1_000_000_000)).unwrap_or(0);
    let seconds = at.as_second() - i64::from(at.subsec_nanosecond() < 0);
    DateTime::from_timestamp(seconds, nanos).map_or(Value::Null, Value::Timestamp)
}

fn attribute_value(name: &KeyString, value: &Value) -> Result<Option<ExtensionValue>, RunError> {
    let wrong = |what: &str| {
        RunError::new(
            "invalid_attribute",
            format!("`{name}` must be a string, an integer of 32 bits or a boolean, not {what}"),
        )
    };
    Ok(Some(match value {
        Value::Null => return Ok(None),
        Value::Boolean(truth) => ExtensionValue::Boolean(*truth),
        Value::Integer(number) => {
            ExtensionValue::Integer(i32::try_from(*number).map_err(|_| wrong("a larger integer"))?)
        }
        Value::Timestamp(at) => ExtensionValue::String(
            at.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true)
                .into(),
        ),
        Value::Bytes(bytes) => {
            let text =
                std::str::from_utf8(bytes).map_err(|_| wrong("a string that is not UTF-8"))?;
            ExtensionValue::String(Str::new(text))
        }
        Value::String(_) => ExtensionValue::String(Str::new(value.to_string_lossy())),
        other => return Err(wrong(other.kind_str())),
    }))
}

impl Target for EventTarget {
    fn target_insert(&mut self, path: &OwnedTargetPath, value: Value) -> Result<(), String> {
        if self.target_get(path)? == Some(&value) {
            return Ok(());
        }
        self.changed(path);
        self.root(path.prefix).insert(&path.path, value);
        Ok(())
    }

    fn target_get(&self, path: &OwnedTargetPath) -> Result<Option<&Value>, String> {
        Ok(match path.prefix {
            PathPrefix::Event => self.document.value.get(&path.path),
            PathPrefix::Metadata => self.attributes.get(&path.path),
        })
    }

    fn target_get_mut(&mut self, path: &OwnedTargetPath) -> Result<Option<&mut Value>, String> {
        self.changed(path);
        Ok(self.root(path.prefix).get_mut(&path.path))
    }

    fn target_remove(
        &mut self,
        path: &OwnedTargetPath,
        compact: bool,
    ) -> Result<Option<Value>, String> {
        let removed = self.root(path.prefix).remove(&path.path, compact);
        if removed.is_some() {
            self.changed(path);
        }
        Ok(removed)
    }
}

/// Programs have no secrets.
impl SecretTarget for EventTarget {
    fn get_secret(&self, _: &str) -> Option<&str> {
        None
    }

    fn insert_secret(&mut self, _: &str, _: &str) {}

    fn remove_secret(&mut self, _: &str) {}
}
