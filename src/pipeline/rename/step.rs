//! Renames fields.

use headgate_sdk::{Data, Envelope, Str};

use super::Config;
use crate::pipeline::{
    json::{self, EditError, Pointer},
    step::{EventStep, Head, Passage, Verdict},
};

/// A `rename` of a pipeline.
#[derive(Debug)]
pub struct RenameStep {
    head: Head,
    fields: Vec<(Pointer, Pointer)>,
}

impl RenameStep {
    /// The step `name`.
    #[must_use]
    pub fn new(config: &Config, name: impl Into<Str>) -> Self {
        Self {
            head: Head::new(name, &config.types, config.on_error),
            fields: config
                .fields
                .iter()
                .map(|(from, to)| (from.clone(), to.clone()))
                .collect(),
        }
    }

    fn rename(&self, event: &mut Envelope) -> Result<Option<String>, EditError> {
        json::check(event)?;
        let mut text: Option<String> = None;
        for (from, to) in &self.fields {
            let current = text.as_deref().map_or_else(|| json::text_of(event), Ok)?;
            if let Some(edited) = json::rename(current, from, to)? {
                text = Some(edited);
            }
        }
        Ok(text)
    }
}

impl EventStep for RenameStep {
    fn head(&self) -> &Head {
        &self.head
    }

    fn judge(&self, event: &mut Envelope, _: &mut Passage<'_>) -> Verdict {
        match self.rename(event) {
            Ok(None) => Verdict::Pass,
            Ok(Some(text)) => {
                event.data = Data::json(text);
                Verdict::Pass
            }
            Err(error) => Verdict::fail("invalid_data", error.to_string()),
        }
    }
}
