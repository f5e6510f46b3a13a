//! Makes thin events.

use headgate_sdk::{Data, Envelope, Str};

use super::Config;
use crate::pipeline::{
    json::{self, Pointer},
    step::{EventStep, Head, Passage, Verdict},
};

/// A `keep_fields` of a pipeline.
#[derive(Debug)]
pub struct KeepFieldsStep {
    head: Head,
    fields: Vec<Pointer>,
}

impl KeepFieldsStep {
    /// The step `name`.
    #[must_use]
    pub fn new(config: &Config, name: impl Into<Str>) -> Self {
        Self {
            head: Head::new(name, &config.types, config.on_error),
            fields: config.fields.clone(),
        }
    }
}

impl EventStep for KeepFieldsStep {
    fn head(&self) -> &Head {
        &self.head
    }

    fn judge(&self, event: &mut Envelope, _: &mut Passage<'_>) -> Verdict {
        let kept = json::check(event)
            .and_then(|()| json::text_of(event))
            .and_then(|text| json::keep(text, &self.fields));
        match kept {
            Ok(text) => {
                event.data = Data::json(text);
                Verdict::Pass
            }
            Err(error) => Verdict::fail("invalid_data", error.to_string()),
        }
    }
}
