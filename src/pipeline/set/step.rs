//! Sets what the configuration says.

use headgate_sdk::{Data, Envelope, ExtensionValue, Str, envelope::json::write_string};
use serde_json::Value;

use super::{Config, Place, Setting};
use crate::pipeline::{
    json,
    step::{EventStep, Head, Passage, Verdict},
};

/// A `set` of a pipeline.
#[derive(Debug)]
pub struct SetStep {
    head: Head,
    fields: Vec<(Place, Setting)>,
    edits_data: bool,
}

impl SetStep {
    /// The step `name`.
    #[must_use]
    pub fn new(config: &Config, name: impl Into<Str>) -> Self {
        Self {
            head: Head::new(name, &config.types, config.on_error),
            fields: config
                .fields
                .iter()
                .map(|(place, setting)| (place.clone(), setting.clone()))
                .collect(),
            edits_data: config
                .fields
                .keys()
                .any(|place| matches!(place, Place::Data(_))),
        }
    }

    /// All or nothing: the event is only replaced when everything is set. Templates see the event as it came.
    fn set(&self, event: &mut Envelope, lane: &str) -> Result<(), (&'static str, String)> {
        let mut text: Option<String> = None;
        let mut attributes = Vec::new();
        if self.edits_data {
            json::check(event).map_err(edit_failed)?;
        }
        for (place, setting) in &self.fields {
            match place {
                Place::Data(pointer) => {
                    let value = data_value(setting, event, lane)?;
                    let current = match &text {
                        Some(text) => text.as_str(),
                        None => json::text_of(event).map_err(edit_failed)?,
                    };
                    text = Some(json::set(current, pointer, &value).map_err(edit_failed)?);
                }
                Place::Attribute(name) => {
                    attributes.push((name.as_str(), attribute_value(setting, event, lane)?));
                }
            }
        }
        let mut attributes = attributes.into_iter();
        change_attributes(event, &mut attributes)?;
        if let Some(text) = text {
            event.data = Data::json(text);
        }
        Ok(())
    }
}

impl EventStep for SetStep {
    fn head(&self) -> &Head {
        &self.head
    }

    fn judge(&self, event: &mut Envelope, passage: &mut Passage<'_>) -> Verdict {
        match self.set(event, passage.lane.id.as_str()) {
            Ok(()) => Verdict::Pass,
            Err((reason, message)) => Verdict::fail(reason, message),
        }
    }
}

/// Changes attributes, all or none: one that cannot have its value leaves the event alone.
pub(in crate::pipeline) fn change_attributes(
    event: &mut Envelope,
    changes: &mut dyn Iterator<Item = (&str, Option<ExtensionValue>)>,
) -> Result<(), (&'static str, String)> {
    let mut changed: Option<Envelope> = None;
    for (name, value) in changes {
        changed
            .get_or_insert_with(|| event.clone())
            .set_attribute(name, value)
            .map_err(|error| ("invalid_attribute", error.to_string()))?;
    }
    if let Some(mut changed) = changed {
        // The copy lacks what was parsed.
        changed.data = std::mem::take(&mut event.data);
        *event = changed;
    }
    Ok(())
}

fn edit_failed(error: json::EditError) -> (&'static str, String) {
    ("invalid_data", error.to_string())
}

fn render(
    template: &crate::pipeline::route::Template,
    event: &Envelope,
    lane: &str,
) -> Result<Str, (&'static str, String)> {
    template.render(event, lane).map_err(|hole| {
        (
            "missing_attribute",
            format!("`{template}` needs `{hole}`, which this event lacks"),
        )
    })
}

fn data_value(
    setting: &Setting,
    event: &Envelope,
    lane: &str,
) -> Result<String, (&'static str, String)> {
    match setting {
        Setting::Json(value) => Ok(value.to_string()),
        Setting::Template(template) => {
            let mut quoted = Vec::new();
            write_string(&render(template, event, lane)?, &mut quoted);
            Ok(String::from_utf8(quoted).unwrap_or_default())
        }
    }
}

fn attribute_value(
    setting: &Setting,
    event: &Envelope,
    lane: &str,
) -> Result<Option<ExtensionValue>, (&'static str, String)> {
    Ok(match setting {
        Setting::Template(template) => Some(ExtensionValue::String(render(template, event, lane)?)),
        Setting::Json(Value::Null) => None,
        Setting::Json(Value::Bool(truth)) => Some(ExtensionValue::Boolean(*truth)),
        Setting::Json(Value::Number(number)) => {
            let number = number
                .as_i64()
                .and_then(|number| i32::try_from(number).ok());
            let number = number.ok_or_else(|| {
                (
                    "invalid_attribute",
                    "an attribute's number is an integer of 32 bits".to_owned(),
                )
            })?;
            Some(ExtensionValue::Integer(number))
        }
        Setting::Json(_) => {
            return Err((
                "invalid_attribute",
                "an attribute is a string, an integer or a boolean".to_owned(),
            ));
        }
    })
}
