//! Reading events in the order of their delivery.

use std::sync::Arc;

use headgate_sdk::{Str, Timestamp};

use super::record::{Content, Logged, decode};
use super::{EmbeddedLog, LogError};
use crate::segment::{Reader, Sequence};

/// Where reading begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// At the oldest event that is kept.
    Oldest,
    /// At the first event that is delivered after now.
    Now,
    /// After this position.
    After(Sequence),
    /// At the first event delivered at this instant or later.
    Since(Timestamp),
    /// Where the group of this name stopped; a new group at the oldest event.
    Group(Str),
}

/// A cursor over the events of the log.
pub struct LogReader {
    log: Arc<EmbeddedLog>,
    reader: Reader,
    since: Option<Timestamp>,
}

impl LogReader {
    pub(super) fn new(log: Arc<EmbeddedLog>, start: Start) -> Self {
        let mut since = None;
        let from = match start {
            Start::Oldest => 0,
            Start::Now => log.log.durable(),
            Start::After(position) => position.saturating_add(1),
            Start::Since(instant) => {
                since = Some(instant);
                first_of(&log, instant)
            }
            Start::Group(group) => log
                .groups
                .cursor(&group)
                .map_or(0, |read| read.saturating_add(1)),
        };
        let reader = log.log.reader(from);
        Self { log, reader, since }
    }

    /// Waits for events and returns up to about `max_bytes` of them. Empty only when the log has ended. Cancel safe.
    pub async fn next(&mut self, max_bytes: usize) -> Result<Vec<Logged>, LogError> {
        loop {
            let events = self.read(max_bytes).await?;
            if !events.is_empty() || !self.reader.wait().await {
                return Ok(events);
            }
        }
    }

    /// The events up to the present end, about `max_bytes` of them at a time. Empty: that was all. Cancel safe.
    pub async fn read(&mut self, max_bytes: usize) -> Result<Vec<Logged>, LogError> {
        while !self.reader.is_at_end() {
            let mut events = Vec::new();
            for record in self.reader.read_now(max_bytes).await? {
                match decode(record)? {
                    Content::Event(event)
                        if self.since.is_none_or(|since| event.delivered >= since) =>
                    {
                        events.push(*event);
                    }
                    Content::Event(_) | Content::Checkpoint(..) => {}
                }
            }
            if !events.is_empty() {
                return Ok(events);
            }
        }
        Ok(Vec::new())
    }

    /// The position of the last record that was looked at.
    #[must_use]
    pub fn position(&self) -> Sequence {
        self.reader.position().saturating_sub(1)
    }

    /// Whether everything delivered so far was read.
    #[must_use]
    pub fn is_at_end(&self) -> bool {
        self.reader.is_at_end()
    }

    /// Stores that `group` has everything up to `position`; it goes on there next time.
    pub async fn store_cursor(&self, group: &Str, position: Sequence) -> Result<(), LogError> {
        let (log, group) = (self.log.clone(), group.clone());
        match tokio::task::spawn_blocking(move || log.groups.store(&group, position)).await {
            Ok(stored) => stored,
            Err(_) => Ok(()),
        }
    }
}

/// The beginning of the last segment that began before `instant`: nothing older can be younger.
fn first_of(log: &EmbeddedLog, instant: Timestamp) -> Sequence {
    let instant_ms = instant.as_millisecond().max(0).cast_unsigned();
    let segments = log.log.segments().unwrap_or_default();
    let before = segments.partition_point(|segment| segment.created_ms < instant_ms);
    before
        .checked_sub(1)
        .and_then(|index| segments.get(index))
        .map_or(0, |segment| segment.first)
}
