//! Checks each event.

use headgate_sdk::{Envelope, ExtensionValue, Str, envelope::legal_string};

use super::schema_file::Invalid;
use super::{Config, OnInvalid};
use crate::pipeline::step::{EventStep, Head, OnError, Passage, Verdict};

/// The attribute that marks an invalid event that goes on; its value is the pointer to what is wrong.
pub const TAG: &str = "invalid";

/// A `validate` of a pipeline.
#[derive(Debug)]
pub struct ValidateStep {
    head: Head,
    config: Config,
    dataschema: Option<Str>,
}

impl ValidateStep {
    /// The step `name`. Its schema was [loaded](super::SchemaFile::load).
    #[must_use]
    pub fn new(config: &Config, name: impl Into<Str>) -> Self {
        let on_error = match config.on_invalid {
            OnInvalid::Drop => OnError::Drop,
            OnInvalid::DeadLetter | OnInvalid::Tag => OnError::DeadLetter,
        };
        Self {
            head: Head::new(name, &config.types, on_error),
            dataschema: config
                .dataschema
                .as_deref()
                .or(config.schema.id())
                .map(Str::from),
            config: config.clone(),
        }
    }
}

impl EventStep for ValidateStep {
    fn head(&self) -> &Head {
        &self.head
    }

    fn judge(&self, event: &mut Envelope, _: &mut Passage<'_>) -> Verdict {
        match self.config.schema.check(event) {
            Ok(()) => {
                if self.dataschema.is_some() {
                    event.dataschema.clone_from(&self.dataschema);
                }
                Verdict::Pass
            }
            Err(Invalid { pointer, .. }) if self.config.on_invalid == OnInvalid::Tag => {
                let pointer = if pointer.is_empty() { "/" } else { &pointer };
                let value = ExtensionValue::String(Str::from(legal_string(pointer)));
                match event.set_attribute(TAG, Some(value)) {
                    Ok(()) => Verdict::Pass,
                    Err(error) => Verdict::fail("invalid_attribute", error.to_string()),
                }
            }
            Err(Invalid { pointer, message }) => {
                let place = if pointer.is_empty() {
                    "the data".to_owned()
                } else {
                    format!("`{pointer}`")
                };
                Verdict::fail("invalid_data", format!("{place} is not valid: {message}"))
            }
        }
    }
}
