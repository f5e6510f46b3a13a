//! Reads what a seat has in the topic of checkpoints.
//!
//! The order matters. First the end of the partition as `read_uncommitted` sees it, *then* reading as `read_committed` until past
//! that end: another producer's open transaction holds back what such a reader sees, and our own last checkpoint may lie
//! behind it.
//!
//! The index has seen the topic up to some offset, so that of what lies before only digests are held: a lane may have a million
//! entries.

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

use bytes::Bytes;
use headgate_sdk::{LaneId, Position, Str};
use rdkafka::{
    Message as _, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
    error::{KafkaError, KafkaResult},
};
use tokio_util::sync::CancellationToken;

use super::{
    member::{Claim, Owner},
    record::{Content, decode},
};
use crate::sink::kafka::{Config, client};

const PATIENCE: Duration = Duration::from_secs(10);
/// Between two looks at another producer's open transaction.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// The longest that reading may go without news.
const STALLED: Duration = Duration::from_secs(30);

/// What the topic says about a seat.
#[derive(Debug, Default)]
pub(super) struct Restored {
    pub(super) lanes: HashMap<LaneId, LaneState>,
    /// The last claim of each transactional id in the partition.
    pub(super) claims: HashMap<Str, Claim>,
    known: Option<i64>,
}

/// A lane's checkpoint.
#[derive(Debug, Default)]
pub(super) struct LaneState {
    pub(super) position: Option<Position>,
    /// Entries that were written last before what is new: digests of key and value.
    pub(super) old: HashMap<Digest, Digest>,
    /// Entries that are new.
    pub(super) news: BTreeMap<Str, Bytes>,
    /// Of the last record about it.
    pub(super) offset: i64,
}

/// Stands for a key or a value.
pub(super) type Digest = [u8; 16];

pub(super) fn digest(bytes: &[u8]) -> Digest {
    let mut digest = Digest::default();
    digest.copy_from_slice(&blake3::hash(bytes).as_bytes()[..16]);
    digest
}

/// Why nothing was read.
pub(super) enum ReadError {
    Kafka(KafkaError),
    Stalled,
    Closing,
}

impl From<KafkaError> for ReadError {
    fn from(error: KafkaError) -> Self {
        Self::Kafka(error)
    }
}

/// Reads `partition` to its present end; what lies after offset `known` is new. `waiting` hears when an open transaction of
/// somebody else has to end first. Blocks.
pub(super) fn read(
    config: &Config,
    topic: &str,
    partition: i32,
    owner: &Owner,
    known: Option<i64>,
    closing: &CancellationToken,
    mut waiting: impl FnMut(),
) -> Result<Restored, ReadError> {
    let (_, end) =
        consumer(config, "read_uncommitted")?.fetch_watermarks(topic, partition, PATIENCE)?;
    let committed = consumer(config, "read_committed")?;
    while committed.fetch_watermarks(topic, partition, PATIENCE)?.1 < end {
        waiting();
        if closing.is_cancelled() {
            return Err(ReadError::Closing);
        }
        std::thread::sleep(LOOK_AGAIN);
    }
    let mut assignment = TopicPartitionList::new();
    assignment.add_partition_offset(topic, partition, Offset::Beginning)?;
    committed.assign(&assignment)?;
    let mut restored = Restored::after(known);
    let mut news = Instant::now();
    loop {
        match committed.poll(Duration::from_millis(200)) {
            Some(Ok(record)) => {
                news = Instant::now();
                let content = decode(
                    owner.text(),
                    record.key().unwrap_or_default(),
                    record.payload(),
                );
                if let Some(content) = content {
                    restored.apply(content, record.offset());
                }
            }
            Some(Err(KafkaError::PartitionEOF(_))) => return Ok(restored),
            Some(Err(error)) => tracing::debug!(%error, topic, partition, "reading checkpoints"),
            None => {}
        }
        if closing.is_cancelled() {
            return Err(ReadError::Closing);
        }
        if news.elapsed() > STALLED {
            return Err(ReadError::Stalled);
        }
    }
}

/// The last claim of each transactional id that lies at `from` or behind, and where reading ended.
pub(super) struct Claims {
    pub(super) claims: HashMap<Str, Claim>,
    pub(super) end: i64,
}

/// Reads what claims are committed now at `from` and behind, as far as `patience` goes. Blocks, and waits for nobody's open
/// transaction.
pub(super) fn claims(
    config: &Config,
    topic: &str,
    partition: i32,
    owner: &str,
    from: i64,
    patience: Duration,
) -> KafkaResult<Claims> {
    let committed = consumer(config, "read_committed")?;
    let (_, end) = committed.fetch_watermarks(topic, partition, patience)?;
    let mut assignment = TopicPartitionList::new();
    assignment.add_partition_offset(topic, partition, Offset::Offset(from))?;
    committed.assign(&assignment)?;
    let mut restored = Restored::default();
    let until = Instant::now() + patience;
    while Instant::now() < until {
        match committed.poll(Duration::from_millis(200)) {
            Some(Ok(record)) => {
                let key = record.key().unwrap_or_default();
                if let Some(claim @ Content::Claim(..)) = decode(owner, key, record.payload()) {
                    restored.apply(claim, record.offset());
                }
            }
            Some(Err(KafkaError::PartitionEOF(_))) => {
                let claims = restored.claims;
                return Ok(Claims { claims, end });
            }
            Some(Err(error)) => return Err(error),
            None => {}
        }
    }
    // The rest comes with the next look.
    let claims = restored.claims;
    Ok(Claims { claims, end: from })
}

fn consumer(config: &Config, isolation: &str) -> KafkaResult<BaseConsumer> {
    client::connection(config)
        .set("group.id", "headgate-checkpoints")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        // What waits in memory while this is slower than the broker.
        .set("queued.max.messages.kbytes", "8192")
        .set("fetch.queue.backoff.ms", "10")
        .set("fetch.wait.max.ms", "100")
        .set("isolation.level", isolation)
        .create()
}

impl Restored {
    /// Begins empty, with what lies after offset `known` as new.
    pub(super) fn after(known: Option<i64>) -> Self {
        Self {
            known,
            ..Self::default()
        }
    }

    pub(super) fn apply(&mut self, content: Content, offset: i64) {
        match content {
            Content::Claim(id, claim) => drop(self.claims.insert(id, claim)),
            Content::Position(lane, position) => {
                let state = self.lanes.entry(lane).or_default();
                state.position = Some(position);
                state.offset = offset;
            }
            Content::Entry(lane, key, value) => {
                let state = self.lanes.entry(lane).or_default();
                state.offset = offset;
                let is_new = Some(offset) > self.known;
                match value {
                    Some(value) if is_new => {
                        if !state.old.is_empty() {
                            state.old.remove(&digest(key.as_bytes()));
                        }
                        state.news.insert(key, value);
                    }
                    Some(value) => {
                        state.old.insert(digest(key.as_bytes()), digest(&value));
                    }
                    None => {
                        state.news.remove(&key);
                        if !state.old.is_empty() {
                            state.old.remove(&digest(key.as_bytes()));
                        }
                    }
                }
            }
        }
    }

    /// Whether a record of ours at `offset`, or one after it, was committed.
    pub(super) fn has(&self, offset: i64) -> bool {
        self.lanes.values().any(|lane| lane.offset >= offset)
    }
}
