//! Looks for an event in everything that is kept.

use std::sync::Arc;

use headgate_sdk::{Batch, Envelope, LaneId, Str, Timestamp, batch::wire};

use super::{Ledger, Run};
use crate::{
    dead_letters::{DeadLetterStore, Filter, Kept},
    journal::Journal,
    sink::log::{EmbeddedLog, Start},
};

const READ_BYTES: usize = 1 << 20;
/// The most of each kind that is told.
const MOST: usize = 100;

/// Where to look.
#[derive(Clone)]
pub struct Places {
    /// What was accepted.
    pub journal: Journal,
    /// The embedded logs, by the names of their sinks.
    pub logs: Vec<(Str, Arc<EmbeddedLog>)>,
    /// What could not be delivered.
    pub dead_letters: DeadLetterStore,
    /// How batches went.
    pub ledger: Option<Ledger>,
}

/// Everything that is known about an event.
#[derive(Debug, Default)]
pub struct Traced {
    /// Its records in the journal.
    pub received: Vec<Received>,
    /// Its records in embedded logs.
    pub delivered: Vec<Delivered>,
    /// Its dead letters.
    pub dead: Vec<Kept>,
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
    fn of(event: &Envelope) -> Self {
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

/// An event in an embedded log.
#[derive(Debug, Clone)]
pub struct Delivered {
    /// The event.
    pub event: Sighting,
    /// The sink.
    pub sink: Str,
    /// The topic.
    pub topic: Str,
    /// Its lane.
    pub lane: LaneId,
    /// Its position.
    pub position: u64,
    /// When it became durable.
    pub at: Timestamp,
    /// How its batch went, if that is still known.
    pub run: Option<Run>,
}

/// Looks for the event of this id; in the logs only for what was delivered since `since`.
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
                lane: one.lane,
                position: one.position,
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
    }
    Ok(traced)
}

/// Says how the batches went. A journaled batch is numbered by the position of its last record; what lies in a log became durable
/// while its batch was under way.
async fn add_runs(
    ledger: &Ledger,
    traced: &mut Traced,
) -> Result<(), crate::segment::SegmentError> {
    let lanes: std::collections::HashSet<Str> = traced
        .received
        .iter()
        .map(|one| one.lane.as_str())
        .chain(traced.delivered.iter().map(|one| one.lane.as_str()))
        .map(Str::new)
        .collect();
    if lanes.is_empty() {
        return Ok(());
    }
    let received: Vec<_> = traced
        .received
        .iter()
        .map(|one| (one.lane.clone(), one.position))
        .collect();
    let delivered: Vec<_> = traced
        .delivered
        .iter()
        .map(|one| (one.lane.clone(), one.sink.clone(), one.at.as_millisecond()))
        .collect();
    let of_log = |run: &Run, (lane, sink, at): &(LaneId, Str, i64)| {
        run.lane == lane.as_str()
            && run.sink == *sink
            && run.begun_ms <= *at
            && *at <= run.durable_ms
    };
    let of_journal = |run: &Run, (lane, position): &(LaneId, u64)| {
        run.lane == lane.as_str() && *position <= run.last
    };
    let wanted = |run: &Run| {
        lanes.contains(&run.lane)
            && (delivered.iter().any(|one| of_log(run, one))
                || received.iter().any(|one| of_journal(run, one)))
    };
    let runs = ledger.runs(wanted, 10_000).await?;
    for (one, key) in traced.delivered.iter_mut().zip(&delivered) {
        one.run = runs.iter().find(|run| of_log(run, key)).cloned();
    }
    for (one, key) in traced.received.iter_mut().zip(&received) {
        // The first batch for each sink that ends at its record or after it.
        for run in runs.iter().filter(|run| of_journal(run, key)) {
            if one.runs.iter().all(|known| known.sink != run.sink) {
                one.runs.push(run.clone());
            }
        }
    }
    Ok(())
}
