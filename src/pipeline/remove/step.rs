//! Takes fields away.

use headgate_sdk::{Data, Envelope, Str};

use super::Config;
use crate::pipeline::{
    json::{self, EditError},
    set::{Place, change_attributes},
    step::{EventStep, Head, Passage, Verdict},
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

    /// All or nothing.
    fn remove(&self, event: &mut Envelope) -> Result<(), (&'static str, String)> {
        let edit_failed = |error: EditError| ("invalid_data", error.to_string());
        let mut text: Option<String> = None;
        for place in &self.fields {
            let Place::Data(pointer) = place else {
                continue;
            };
            json::check(event).map_err(edit_failed)?;
            let current = match &text {
                Some(text) => text.as_str(),
                None => json::text_of(event).map_err(edit_failed)?,
            };
            if let Some(edited) = json::remove(current, pointer).map_err(edit_failed)? {
                text = Some(edited);
            }
        }
        let mut attributes = self.fields.iter().filter_map(|place| match place {
            Place::Attribute(name) => Some((name.as_str(), None)),
            Place::Data(_) => None,
        });
        change_attributes(event, &mut attributes)?;
        if let Some(text) = text {
            event.data = Data::json(text);
        }
        Ok(())
    }
}

impl EventStep for RemoveStep {
    fn head(&self) -> &Head {
        &self.head
    }

    fn judge(&self, event: &mut Envelope, _: &mut Passage<'_>) -> Verdict {
        match self.remove(event) {
            Ok(()) => Verdict::Pass,
            Err((reason, message)) => Verdict::fail(reason, message),
        }
    }
}
