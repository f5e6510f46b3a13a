//! Asks about each event's key.

use std::sync::Arc;

use headgate_sdk::{Entry, Envelope, Str, Timestamp};

use super::state::{Seen, hash, setter};
use super::{Config, DedupState};
use crate::pipeline::{
    PipelineBatch,
    step::{EventStep, Head, Verdict},
};

/// The part of a `dedup` that decides; what it decided is in memory only.
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

    /// Drops duplicates; what has to be stored before the batch goes on.
    pub(super) fn judge(&self, batch: &mut PipelineBatch, now: Timestamp) -> Vec<Entry> {
        let mut changes = Vec::new();
        self.head
            .run(batch, |event| self.one(event, now, &mut changes));
        changes
    }

    fn one(&self, event: &mut Envelope, now: Timestamp, changes: &mut Vec<Entry>) -> Verdict {
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
        match self.state.see(
            key,
            setter(&event.source, &event.id),
            now.as_second(),
            changes,
        ) {
            Seen::New | Seen::Again => Verdict::Pass,
            Seen::Duplicate => Verdict::Drop,
        }
    }
}

impl EventStep for DedupStep {
    fn apply(&self, batch: &mut PipelineBatch) {
        self.judge(batch, Timestamp::now());
    }
}
