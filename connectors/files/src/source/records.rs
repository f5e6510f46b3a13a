//! Tasks that send more than one event for a file, or copy it first: they wait for their lane themselves.

use std::{io, path::PathBuf, sync::Arc};

use bytes::Bytes;
use headgate_sdk::{
    Batch, Lane, Str,
    blobs::{BlobError, BlobStore},
};
use tokio::sync::mpsc;

use super::{
    event::{Counts, Facts, RecordMaker},
    lanes::Gate,
};
use crate::{
    ledger::{self, RecordsEntry},
    read::{Reading, content, open::open_beneath},
    records::{Format, Place, Reader, Shape},
    stamp::Stamp,
};

/// A batch of records is cut at this many,
const CHUNK_RECORDS: usize = 1024;
/// or when their data have this size.
const CHUNK_BYTES: usize = 256 * 1024;

/// How such a task ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// All records are sent.
    Records(Counts),
    /// The copy is in the store.
    Copied(Str),
    /// The file changed meanwhile.
    Changed(Stamp),
    /// The file is gone.
    Vanished,
    /// The file as a whole is no good; says why.
    Broken(String),
    /// Reading failed for now.
    Failed(String),
    /// The claim-check store does not take it for now.
    NotStored(String),
    /// The lane is closed.
    Closed,
}

/// Sends the records of a file, from where `resume` left off if that is of the same version. Says how it ended, and how far it came.
pub(crate) async fn stream(
    lane: Lane,
    gate: Gate,
    root: PathBuf,
    facts: Arc<Facts>,
    format: Format,
    record_type: Str,
    resume: Option<RecordsEntry>,
) -> (Ended, Option<RecordsEntry>) {
    let maker = RecordMaker::new(&facts, &record_type, format.shape != Shape::Lines);
    let entry_key = ledger::key::records(facts.path_text());
    let (chunks, mut received) = mpsc::channel(2);
    let mut came_to = resume.clone();
    let reading = maker.clone();
    let reader = tokio::task::spawn_blocking(move || {
        match read(&root, &facts, &format, &reading, resume, &chunks) {
            Ok(ended) => ended,
            Err(error) => sort(error),
        }
    });
    // Parsing and ids on the one thread, events on the other: about the same work.
    while let Some((chunk, entry)) = received.recv().await {
        let chunk: Chunk = chunk;
        let mut batch = chunk.into_batch(&maker.fresh());
        batch.entries.push(ledger::put(entry_key.clone(), &entry));
        let Ok(permit) = lane.reserve(batch.weight()).await else {
            return (Ended::Closed, came_to);
        };
        // Progress is enough: the entry that rides on the batch says how far it came.
        if gate.send(permit, batch).is_none() {
            return (Ended::Closed, came_to);
        }
        came_to = Some(entry);
    }
    let ended = reader
        .await
        .unwrap_or_else(|panic| Ended::Failed(format!("reading stopped: {panic}")));
    (ended, came_to)
}

fn sort(error: io::Error) -> Ended {
    use io::ErrorKind::{FileTooLarge, InvalidData, InvalidInput, UnexpectedEof};
    match error.kind() {
        FileTooLarge | InvalidData | InvalidInput => Ended::Broken(error.to_string()),
        UnexpectedEof => Ended::Broken("the compressed file ends too early".into()),
        // What the zstd decoder says of damaged input.
        io::ErrorKind::Other => Ended::Broken(format!("the file cannot be unpacked: {error}")),
        _ => match content::failed(error) {
            Reading::Failed(error) => Ended::Failed(error.to_string()),
            _ => Ended::Vanished,
        },
    }
}

fn read(
    root: &std::path::Path,
    facts: &Facts,
    format: &Format,
    maker: &RecordMaker,
    resume: Option<RecordsEntry>,
    chunks: &mpsc::Sender<(Chunk, RecordsEntry)>,
) -> io::Result<Ended> {
    let file = open_beneath(root, &facts.key.path)?;
    let expected = facts.content.stamp;
    let stamp = || file.metadata().map(|metadata| Stamp::of(&metadata));
    let now = stamp()?;
    if now != expected {
        return Ok(Ended::Changed(now));
    }
    let resume = resume.filter(|entry| entry.id == facts.id);
    let (place, mut defects) =
        resume.map_or((Place::START, 0), |entry| (entry.place, entry.defects));
    let mut reader = Reader::open(&file, format, place)?;
    let mut failure = None;
    let mut more = true;
    while more {
        let mut chunk = Chunk::with_room();
        while more && !chunk.is_full() {
            match reader.next(&mut chunk.arena) {
                Ok(Some(record)) => match record.body {
                    Ok(range) => chunk.good.push((maker.id(record.number), range)),
                    Err(defect) => chunk.bad.push(maker.defect(record.number, defect)),
                },
                Ok(None) => more = false,
                // What was read before is good.
                Err(error) => {
                    failure = Some(error);
                    more = false;
                }
            }
        }
        // Before sending: bytes that are mixed of two versions are nobody's.
        let now = stamp()?;
        if now != expected {
            return Ok(Ended::Changed(now));
        }
        defects += chunk.bad.len() as u64;
        if !chunk.good.is_empty() || !chunk.bad.is_empty() {
            let entry = RecordsEntry {
                id: facts.id.clone(),
                stamp: expected,
                place: reader.place(),
                defects,
            };
            if chunks.blocking_send((chunk, entry)).is_err() {
                return Ok(Ended::Closed);
            }
        }
    }
    if let Some(error) = failure {
        return Err(error);
    }
    Ok(Ended::Records(Counts {
        published: reader.place().records - defects,
        rejected: defects,
    }))
}

/// Records on their way into one batch. Their data share one allocation.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    pub(super) arena: Vec<u8>,
    pub(super) good: Vec<(Str, std::ops::Range<usize>)>,
    pub(super) bad: Vec<headgate_sdk::DeadLetter>,
}

impl Chunk {
    /// An empty one that need not grow for ordinary records.
    pub(super) fn with_room() -> Self {
        Self {
            arena: Vec::with_capacity(CHUNK_BYTES / 2),
            good: Vec::with_capacity(CHUNK_RECORDS),
            bad: Vec::new(),
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.good.len() + self.bad.len() >= CHUNK_RECORDS || self.arena.len() >= CHUNK_BYTES
    }

    pub(super) fn into_batch(self, maker: &RecordMaker) -> Batch {
        let arena = Bytes::from(self.arena);
        Batch {
            events: self
                .good
                .into_iter()
                .map(|(id, range)| maker.event(id, arena.slice(range)))
                .collect(),
            rejected: self.bad,
            ..Batch::default()
        }
    }
}

/// Copies a file into the claim-check store.
pub(crate) async fn copy(blobs: Arc<dyn BlobStore>, root: PathBuf, facts: Arc<Facts>) -> Ended {
    let path = Arc::clone(&facts.key.path);
    let opened = tokio::task::spawn_blocking(move || open_beneath(&root, &path)).await;
    let file = match opened {
        Ok(Ok(file)) => file,
        Ok(Err(error)) => return sort(error),
        Err(panic) => return Ended::Failed(format!("opening stopped: {panic}")),
    };
    let mut file = tokio::fs::File::from_std(file);
    match blobs.put(&mut file).await {
        Ok(blob) if blob.hash == facts.hash() => Ended::Copied(blob.uri),
        // A blob that nobody refers to is harmless.
        Ok(_) => match file.metadata().await {
            Ok(metadata) => Ended::Changed(Stamp::of(&metadata)),
            Err(error) => sort(error),
        },
        Err(BlobError::Read(error)) => sort(error),
        Err(error) => {
            let cause = std::error::Error::source(&error).map(|cause| format!(" ({cause})"));
            Ended::NotStored(format!("{error}{}", cause.unwrap_or_default()))
        }
    }
}
