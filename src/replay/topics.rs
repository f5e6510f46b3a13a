//! Reads what a replay means from topics.

use std::{collections::BTreeMap, ops::ControlFlow, time::Duration};

use super::{Choice, ReplayError, cursor};
use crate::{
    replay::read::MOST_BYTES,
    sink::{Record, kafka::TopicReader},
};

/// How long one part may take, so that whoever waits sees progress.
const PATIENCE: Duration = Duration::from_secs(5);

/// A part of what is to be replayed from topics. Those of a partition are in their order.
#[derive(Debug, Default)]
pub struct TopicsChunk {
    /// The events, with topic, key and headers.
    pub events: Vec<Record>,
    /// Records that cannot be replayed, by reason.
    pub refused: BTreeMap<String, usize>,
    /// Where to go on; `None`: that was all.
    pub next: Option<String>,
}

/// Up to `limit` events of the topics of these names, as far as they reach when the replay begins, or from where the part
/// before ended. There may be fewer, also none, before the end.
///
/// # Errors
/// [`ReplayError`] if they cannot be read.
pub async fn from_topics(
    reader: &TopicReader,
    patterns: &[String],
    choice: &Choice,
    after: Option<&str>,
    limit: usize,
) -> Result<TopicsChunk, ReplayError> {
    let (reader, patterns, choice) = (reader.clone(), patterns.to_vec(), choice.clone());
    let begun = after.map(cursor::read_spans).transpose()?;
    let reading = tokio::task::spawn_blocking(move || {
        let mut left = match begun {
            Some(left) => left,
            None => reader.spans(&patterns, choice.since)?,
        };
        let mut chunk = TopicsChunk::default();
        let mut bytes = 0;
        reader.read(&mut left, PATIENCE, |found| {
            match found.record {
                Ok(record) if choice.takes(&record.envelope, "", found.written) => {
                    bytes += record.envelope.weight();
                    chunk.events.push(*record);
                }
                Ok(_) => {}
                Err(reason) => {
                    let reason = format!("{}: {reason}", found.topic);
                    *chunk.refused.entry(reason).or_default() += 1;
                }
            }
            match chunk.events.len() < limit && bytes < MOST_BYTES {
                true => ControlFlow::Continue(()),
                false => ControlFlow::Break(()),
            }
        })?;
        chunk.next = cursor::write_spans(&left);
        Ok::<_, ReplayError>(chunk)
    });
    reading.await.map_err(|_| ReplayError::Stopped)?
}
