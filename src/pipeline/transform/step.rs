//! Runs the program on each event.

use headgate_sdk::{Envelope, Str};

use super::Config;
use crate::pipeline::{
    script::Transformed,
    step::{EventStep, Head, Passage, Verdict},
};

/// A transform of a pipeline.
#[derive(Debug)]
pub struct TransformStep {
    head: Head,
    config: Config,
}

impl TransformStep {
    /// The step `name`.
    #[must_use]
    pub fn new(config: &Config, name: impl Into<Str>) -> Self {
        Self {
            head: Head::new(name, &config.types, config.on_error),
            config: config.clone(),
        }
    }
}

impl EventStep for TransformStep {
    fn head(&self) -> &Head {
        &self.head
    }

    fn judge(&self, event: &mut Envelope, _: &mut Passage<'_>) -> Verdict {
        let Config {
            vrl,
            numbers,
            max_events,
            ..
        } = &self.config;
        match vrl.run(event, *numbers, self.head.name(), *max_events) {
            Ok(Transformed::Unchanged | Transformed::InPlace) => Verdict::Pass,
            Ok(Transformed::Several(children)) => Verdict::Replace(children),
            Err(error) => Verdict::fail(error.reason, error.message),
        }
    }
}
