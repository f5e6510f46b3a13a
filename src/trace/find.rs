//! Looks for an event in everything that is kept.

use std::sync::Arc;

use headgate_sdk::{Batch, Envelope, LaneId, Str, Timestamp, batch::wire};

use super::{Ledger, Run, topics};
use crate::{
    dead_letters::{DeadLetterStore, Filter, Kept},
    journal::Journal,
    sink::{
        kafka::TopicReader,
        log::{EmbeddedLog, Start},
    },
};

const READ_BYTES: usize = 1 << 20;
/// The most of each kind that is told.
pub(super) const MOST: usize = 100;

/// Where to look.
#[derive(Clone)]
pub struct Places {
    /// What was accepted.
    pub journal: Journal,
    /// The embedded logs, by the names of their sinks.
    pub logs: Vec<(Str, Arc<EmbeddedLog>)>,
    /// What could not be delivered.
    pub dead_letters: DeadLetterStore,
    /// Topics, by the names of the sinks that write them.
    pub topics: Vec<(Str, TopicReader)>,
    /// How batches went.
    pub ledger: Option<Ledger>,
}

/// Everything that is known about an event.
#[derive(Debug, Default)]
pub struct Traced {
    /// Its records in the journal.
    pub received: Vec<Received>,
    /// Its records in embedded logs and in topics.
    pub delivered: Vec<Delivered>,
    /// Its dead letters.
    pub dead: Vec<Kept>,
    /// What was not looked through, and what to do: one sentence each.
    pub gaps: Vec<String>,
}

/// What all records of an event say.
#[derive(Debug, Clone)]
pub struct Sighting {
    /// The `source` attribute.
    pub source: Str,
    /// The type.
    pub event_type: Str,
    /// When Headgate first received it.
    pub recorded: Timestamp,
    /// Its replay, if it is of one.
    pub replayid: Option<Str>,
}

impl Sighting {
    pub(super) fn of(event: &Envelope) -> Self {
        Self {
            source: event.source.clone(),
            event_type: event.event_type.clone(),
            recorded: event.recordedtime,
            replayid: event.replayid.clone(),
        }
    }
}

/// An event in the journal.
#[derive(Debug, Clone)]
pub struct Received {
    /// The event.
    pub event: Sighting,
    /// Its lane.
    pub lane: LaneId,
    /// Its position.
    pub position: u64,
    /// Whether its lane is not done with it.
    pub waits: bool,
    /// How its batch went, for each sink.
    pub runs: Vec<Run>,
}

/// An event in an embedded log, or in a topic.
#[derive(Debug, Clone)]
pub struct Delivered {
    /// The event.
    pub event: Sighting,
    /// The sink.
    pub sink: Str,
    /// The topic.
    pub topic: Str,
    /// Its lane, as far as that is known.
    pub lane: Option<LaneId>,
    /// Where exactly.
    pub place: Place,
    /// When it became durable in the log, or was handed over to Kafka.
    pub at: Timestamp,
    /// How its batch went, if that is still known.
    pub run: Option<Run>,
}

/// Where a record lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In an embedded log.
    Log {
        /// The position.
        position: u64,
    },
    /// In Kafka.
    Partition {
        /// The partition.
        partition: i32,
        /// The offset.
        offset: i64,
    },
}

/// Looks for the event of this id. In the logs only for what was delivered since `since`; in topics where the ledger says that its
/// batch lies, and among everything since `since`, if that is given or the journal does not have the event.
///
/// # Errors
/// A sentence that says what cannot be read.
pub async fn find(places: &Places, id: &str, since: Option<Timestamp>) -> Result<Traced, String> {
    let said = |error: &dyn std::fmt::Display| error.to_string();
    let mut traced = Traced::default();
    let lanes = places.journal.lanes();
    let mut scan = places.journal.scan(1);
    while traced.received.len() < MOST {
        let records = scan.next(READ_BYTES).await.map_err(|error| said(&error))?;
        if records.is_empty() {
            break;
        }
        for (lane, entry) in records {
            let mut batch = Batch::default();
            if wire::decode_events_into(entry.payload, &mut batch).is_err() {
                continue;
            }
            for event in batch.events.iter().filter(|event| event.id == id) {
                let pending = lanes.iter().find(|known| known.id == lane);
                let pending = pending.and_then(|known| known.pending_from);
                traced.received.push(Received {
                    event: Sighting::of(event),
                    waits: pending.is_some_and(|from| from <= entry.sequence),
                    lane: lane.clone(),
                    position: entry.sequence,
                    runs: Vec::new(),
                });
            }
        }
    }
    for (sink, log) in &places.logs {
        let mut reader = log.reader(since.map_or(Start::Oldest, Start::Since));
        while traced.delivered.len() < MOST {
            let events = reader
                .read(READ_BYTES)
                .await
                .map_err(|error| said(&error))?;
            if events.is_empty() {
                break;
            }
            let found = events
                .into_iter()
                .filter(|one| one.record.envelope.id == id);
            traced.delivered.extend(found.map(|one| Delivered {
                event: Sighting::of(&one.record.envelope),
                sink: sink.clone(),
                topic: one.record.topic,
                lane: Some(one.lane),
                place: Place::Log {
                    position: one.position,
                },
                at: one.delivered,
                run: None,
            }));
        }
    }
    let filter = Filter {
        id: Some(id.to_owned()),
        ..Filter::default()
    };
    let dead = places.dead_letters.list(&filter, 0, MOST).await;
    traced.dead = dead.map_err(|error| said(&error))?;
    if let Some(ledger) = &places.ledger {
        add_runs(ledger, &mut traced)
            .await
            .map_err(|error| said(&error))?;
        topics::look(places, ledger, &mut traced, id, since)
            .await
            .map_err(|error| said(&error))?;
    }
    Ok(traced)
}

/// Says how the batches went. A journaled batch is numbered by the position of its last record.
async fn add_runs(
    ledger: &Ledger,
    traced: &mut Traced,
) -> Result<(), crate::segment::SegmentError> {
    if traced.received.is_empty() && traced.delivered.is_empty() {
        return Ok(());
    }
    ledger
        .each(|run| {
            for one in &mut traced.received {
                // The first batch for each sink that ends at its record or after it.
                let is_its = run.lane == one.lane.as_str() && one.position <= run.last;
                if is_its && one.runs.iter().all(|known| known.sink != run.sink) {
                    one.runs.push(run.clone());
                }
            }
            for one in &mut traced.delivered {
                let lane = one.lane.as_ref().map_or("", LaneId::as_str);
                if one.run.is_none()
                    && run.lane == lane
                    && run.holds(&one.sink, &one.topic, one.place)
                {
                    one.run = Some(run.clone());
                }
            }
        })
        .await
}
