//! Takes fields away.

use headgate_sdk::{Data, Envelope, Str};

use super::Config;
use crate::pipeline::{
    PipelineBatch, json,
    set::Place,
    step::{EventStep, Head, Verdict},
};

/// A `remove` of a pipeline.
#[derive(Debug)]
pub struct RemoveStep {
    head: Head,
    fields: Vec<Place>,
}

impl RemoveStep {
    /// The step `name`.
    #[must_use]
    pub fn new(config: &Config, name: impl Into<Str>) -> Self {
        Self {
            head: Head::new(name, &config.types, config.on_error),
            fields: config.fields.clone(),
        }
    }

    fn remove(&self, event: &mut Envelope) -> Verdict {
        let mut text: Option<String> = None;
        for place in &self.fields {
            let Place::Data(pointer) = place else {
                continue;
            };
            let current = match text.as_deref().map_or_else(|| json::text_of(event), Ok) {
                Ok(current) => current,
                Err(error) => return Verdict::fail("invalid_data", error.to_string()),
            };
            match json::remove(current, pointer) {
                Ok(Some(edited)) => text = Some(edited),
                Ok(None) => {}
                Err(error) => return Verdict::fail("invalid_data", error.to_string()),
            }
        }
        let mut changed = event.clone();
        for place in &self.fields {
            if let Place::Attribute(name) = place
                && let Err(error) = changed.set_attribute(name, None)
            {
                return Verdict::fail("invalid_attribute", error.to_string());
            }
        }
        *event = changed;
        if let Some(text) = text {
            event.data = Data::json(text);
        }
        Verdict::Pass
    }
}

impl EventStep for RemoveStep {
    fn apply(&self, batch: &mut PipelineBatch) {
        self.head.run(batch, |event| self.remove(event));
    }
}
