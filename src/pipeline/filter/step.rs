//! Drops what does not match.

use headgate_sdk::{Envelope, Str};

use super::{Config, Equals};
use crate::pipeline::step::{EventStep, Head, Passage, Verdict};

/// A filter of a pipeline.
#[derive(Debug)]
pub struct FilterStep {
    head: Head,
    config: Config,
}

impl FilterStep {
    /// The step `name`.
    #[must_use]
    pub fn new(config: &Config, name: impl Into<Str>) -> Self {
        Self {
            head: Head::new(name, &config.types, config.on_error),
            config: config.clone(),
        }
    }
}

impl EventStep for FilterStep {
    fn head(&self) -> &Head {
        &self.head
    }

    fn judge(&self, event: &mut Envelope, _: &mut Passage<'_>) -> Verdict {
        if !matches(&self.config.equals, event) {
            return Verdict::Drop;
        }
        match self
            .config
            .keep
            .as_ref()
            .map_or(Ok(true), |condition| condition.holds(event))
        {
            Ok(true) => Verdict::Pass,
            Ok(false) => Verdict::Drop,
            Err(error) => Verdict::fail(error.reason, error.message),
        }
    }
}

fn matches(equals: &Equals, event: &Envelope) -> bool {
    equals
        .iter()
        .all(|(name, values)| match event.attribute_text(name) {
            Some(value) => values.iter().any(|wanted| *wanted == *value),
            None => false,
        })
}
