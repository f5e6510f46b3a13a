//! Redacts each event.

use headgate_sdk::{Data, Envelope, ExtensionValue, Str};

use super::treatment::Treatment;
use super::{Config, Field, OnFailure};
use crate::pipeline::{
    json::{self, EditError, Pattern},
    set::change_attributes,
    step::{EventStep, Head, OnError, Passage, Verdict},
};

/// A `redact` of a pipeline.
#[derive(Debug)]
pub struct RedactStep {
    head: Head,
    places: Vec<Pattern>,
    attributes: Vec<String>,
    treatment: Treatment,
}

impl RedactStep {
    /// The step `name`.
    #[must_use]
    pub fn new(config: &Config, name: impl Into<Str>) -> Self {
        let on_error = match config.on_error {
            OnFailure::DeadLetter => OnError::DeadLetter,
            OnFailure::Drop => OnError::Drop,
        };
        let (mut places, mut attributes) = (Vec::new(), Vec::new());
        for field in &config.fields {
            match field {
                Field::Data(pattern) => places.push(pattern.clone()),
                Field::Attribute(name) => attributes.push(name.clone()),
            }
        }
        Self {
            head: Head::new(name, &config.types, on_error),
            places,
            attributes,
            treatment: Treatment::of(config),
        }
    }

    /// All or nothing.
    fn redact(&self, event: &mut Envelope) -> Result<(), (&'static str, String)> {
        let text = self
            .data(event)
            .map_err(|error| ("invalid_data", error.to_string()))?;
        let mut attributes = Vec::with_capacity(self.attributes.len());
        for name in &self.attributes {
            if let Some(text) = event.attribute_text(name) {
                let treated = self.treatment.text(&text);
                let value = treated.map(|text| ExtensionValue::String(Str::new(text)));
                attributes.push((name.as_str(), value));
            }
        }
        change_attributes(event, &mut attributes.into_iter())?;
        if let Some(text) = text {
            event.data = Data::json(text);
        }
        Ok(())
    }

    /// The data as it may be read, `None` if there is nothing in it that may not.
    fn data(&self, event: &mut Envelope) -> Result<Option<String>, EditError> {
        // An event without data has nothing to hide there.
        if self.places.is_empty() || event.data.bytes().is_none() {
            return Ok(None);
        }
        json::check(event)?;
        let mut text: Option<String> = None;
        for place in &self.places {
            let current = match &text {
                Some(text) => text.as_str(),
                None => json::text_of(event)?,
            };
            let treated = json::replace_all(current, place, |value| self.treatment.json(value))?;
            text = treated.or(text);
        }
        Ok(text)
    }
}

impl EventStep for RedactStep {
    fn head(&self) -> &Head {
        &self.head
    }

    fn judge(&self, event: &mut Envelope, _: &mut Passage<'_>) -> Verdict {
        match self.redact(event) {
            Ok(()) => Verdict::Pass,
            Err((reason, message)) => Verdict::fail(reason, message),
        }
    }
}
