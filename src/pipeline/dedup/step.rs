//! Asks about each event's key.

use std::sync::Arc;

use headgate_sdk::{Envelope, Str};

use super::state::{Seen, hash, setter};
use super::{Config, DedupState};
use crate::pipeline::step::{EventStep, Head, Passage, Verdict};

/// The part of a `dedup` that decides; what it decided is in memory, and among the changes of the passage to be stored.
pub struct DedupStep {
    head: Head,
    config: Config,
    state: Arc<DedupState>,
    without_key: metrics::Counter,
}

impl DedupStep {
    /// The step `name` over `state`.
    #[must_use]
    pub fn new(config: &Config, name: impl Into<Str>, state: Arc<DedupState>) -> Self {
        let name = name.into();
        Self {
            without_key: metrics::counter!("headgate_dedup_events_without_key_total", "step" => name.to_string()),
            head: Head::new(name, &config.types, config.on_error),
            config: config.clone(),
            state,
        }
    }
}

impl EventStep for DedupStep {
    fn head(&self) -> &Head {
        &self.head
    }

    fn judge(&self, event: &mut Envelope, passage: &mut Passage<'_>) -> Verdict {
        let key = match self.config.key.of(event) {
            Ok(Some(key)) => key,
            Ok(None) => {
                self.without_key.increment(1);
                return Verdict::Pass;
            }
            Err(error) => return Verdict::fail(error.reason, error.message),
        };
        let source = if self.config.across_sources {
            ""
        } else {
            event.source.as_str()
        };
        let key = hash(&[&event.tenantid, source, &key]);
        let now = passage.now.as_second();
        match self.state.see(
            key,
            setter(&event.source, &event.id),
            now,
            &mut passage.changes,
        ) {
            Seen::New | Seen::Again => Verdict::Pass,
            Seen::Duplicate => Verdict::Drop,
        }
    }
}
