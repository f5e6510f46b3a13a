//! Runs the program on each event.

use headgate_sdk::Str;

use super::Config;
use crate::pipeline::{
    PipelineBatch,
    script::Transformed,
    step::{EventStep, Head, Verdict},
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
    fn apply(&self, batch: &mut PipelineBatch) {
        let Config {
            vrl,
            numbers,
            max_events,
            ..
        } = &self.config;
        self.head.run(batch, |event| {
            match vrl.run(event, *numbers, self.head.name(), *max_events) {
                Ok(Transformed::Unchanged | Transformed::InPlace) => Verdict::Pass,
                Ok(Transformed::Several(children)) => Verdict::Replace(children),
                Err(error) => Verdict::fail(error.reason, error.message),
            }
        });
    }
}
