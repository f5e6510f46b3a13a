//! Keyed entries of journaled lanes.
//!
//! An entry that rides on a journaled batch is durable with it. So that a restart does not have to read all of the journal for
//! them, one task follows the journal and copies the entries of all lanes into the checkpoint store, in the journal's order,
//! together with how far it came. Invariant: segments behind that mark are not released.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use headgate_sdk::{LaneId, Str, batch::wire};
use tokio::sync::{Mutex, watch};
use tokio_util::sync::CancellationToken;

use super::journaled::BATCH;
use crate::{
    journal::{Journal, JournalError, JournalScan},
    runtime::{CheckpointError, Checkpoints, Commit},
    sink::Checkpoint,
};

/// The name of the mark in the checkpoint store.
const MARK: Str = Str::new_static("journal");
/// How often the journal is looked at.
const EVERY: Duration = Duration::from_millis(200);
/// Read at once.
const CHUNK_BYTES: usize = 1 << 20;

/// Copies entries from the journal into the checkpoint store.
pub(super) struct EntryIndexer {
    checkpoints: Checkpoints,
    place: Mutex<Place>,
    /// The last sequence whose entries are stored.
    indexed: watch::Sender<u64>,
}

/// How far the journal was copied. The scan is kept: a new one would look for its place from the beginning of the segment.
struct Place {
    scan: JournalScan,
    /// The first sequence not yet copied.
    next: u64,
}

impl EntryIndexer {
    pub(super) fn new(
        journal: &Journal,
        checkpoints: Checkpoints,
    ) -> Result<Self, CheckpointError> {
        let mark = checkpoints.mark(&MARK)?;
        let last = mark.and_then(|mark| Some(u64::from_le_bytes(mark.as_ref().try_into().ok()?)));
        let last = last.unwrap_or(0);
        Ok(Self {
            checkpoints,
            place: Mutex::new(Place {
                scan: journal.scan(last + 1),
                next: last + 1,
            }),
            indexed: watch::Sender::new(last),
        })
    }

    /// The last sequence whose entries are stored.
    pub(super) fn indexed(&self) -> watch::Receiver<u64> {
        self.indexed.subscribe()
    }

    /// Copies everything that is in the journal now. On return it is in the store.
    pub(super) async fn catch_up(&self) -> Result<(), JournalError> {
        let mut place = self.place.lock().await;
        let Place { scan, next } = &mut *place;
        scan.resume(*next);
        let before = *next;
        loop {
            let records = scan.next(CHUNK_BYTES).await?;
            let Some(last) = records.last().map(|(_, entry)| entry.sequence) else {
                break;
            };
            let mut lanes: BTreeMap<LaneId, Checkpoint> = BTreeMap::new();
            for (lane, entry) in records {
                let entries = (entry.kind == BATCH)
                    .then(|| wire::decode_entries(entry.payload))
                    .transpose();
                match entries {
                    Ok(Some(entries)) if !entries.is_empty() => {
                        lanes.entry(lane).or_default().entries.extend(entries)
                    }
                    Ok(_) => {}
                    Err(error) => {
                        tracing::error!(%lane, sequence = entry.sequence, %error, "entries of a journal record are left out");
                    }
                }
            }
            for (lane, checkpoint) in lanes {
                self.checkpoints
                    .commit(Commit {
                        lane,
                        checkpoint,
                        mark: None,
                        done: None,
                    })
                    .await;
            }
            self.mark(last).await;
            *next = last + 1;
        }
        if *next > before {
            self.checkpoints.flush().await;
        }
        Ok(())
    }

    async fn mark(&self, last: u64) {
        let indexed = self.indexed.clone();
        self.checkpoints
            .commit(Commit {
                lane: LaneId::from_stored(""),
                checkpoint: Checkpoint::default(),
                mark: Some((MARK, Bytes::copy_from_slice(&last.to_le_bytes()))),
                done: Some(Box::new(move || {
                    indexed.send_modify(|indexed| *indexed = last)
                })),
            })
            .await;
    }

    /// Follows the journal until `stop`.
    pub(super) async fn run(&self, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            if let Err(error) = self.catch_up().await {
                tracing::error!(%error, "the journal cannot be followed: its segments are kept until a restart");
                return;
            }
        }
    }
}
