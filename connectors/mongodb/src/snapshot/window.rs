//! What changed while a chunk was read and until the stream had passed it.

use std::collections::HashMap;

use headgate_sdk::Timestamp as Instant;
use mongodb::bson::{RawDocumentBuf, Timestamp};

use super::{Chunk, ChunkRequest};
use crate::{change::Change, event};

/// One chunk under way.
///
/// Invariant: a document that is still in it is the newest of its `_id` up to the chunk's time, and the stream has sent nothing of
/// it since reading began.
pub(crate) struct Window {
    pub(crate) request: ChunkRequest,
    /// Documents that changed before the chunk was there: by the hash of the `_id`, the `_id` if its events do not tell the whole
    /// document.
    changed: HashMap<u128, Option<RawDocumentBuf>>,
    loaded: Option<Loaded>,
    /// What is stored once the chunk and all that had to be read again are sent.
    pub(crate) outcome: Outcome,
}

/// What a chunk adds to its collection's progress.
#[derive(Debug, Clone, Default)]
pub(crate) struct Outcome {
    pub(crate) last: Option<RawDocumentBuf>,
    pub(crate) documents: u64,
    pub(crate) end: bool,
}

struct Loaded {
    documents: Vec<Option<RawDocumentBuf>>,
    by_key: HashMap<u128, usize>,
    again: Vec<RawDocumentBuf>,
    high: Timestamp,
    read_at: Instant,
}

/// A chunk that the stream has passed.
pub(crate) struct Finished {
    pub(crate) request: ChunkRequest,
    pub(crate) documents: Vec<RawDocumentBuf>,
    /// Documents that changed without their events telling all of them: to be read again.
    pub(crate) again: Vec<RawDocumentBuf>,
    pub(crate) read_at: Instant,
    pub(crate) outcome: Outcome,
}

impl Window {
    /// A window that opens before `request` is sent.
    pub(crate) fn new(request: ChunkRequest, outcome: Outcome) -> Self {
        Self {
            request,
            changed: HashMap::new(),
            loaded: None,
            outcome,
        }
    }

    /// Whether it is on a namespace.
    pub(crate) fn is_on(&self, database: &str, collection: &str) -> bool {
        self.request.database == database && self.request.collection == collection
    }

    /// Up to where the stream must come, once that is known.
    pub(crate) fn high(&self) -> Option<Timestamp> {
        self.loaded.as_ref().map(|loaded| loaded.high)
    }

    /// Takes note of a change of its collection.
    pub(crate) fn note(&mut self, change: &Change<'_>) {
        let Some(id) = change.id() else { return };
        let key = event::hash(id);
        let told =
            change.after.is_some() || matches!(change.operation, "insert" | "replace" | "delete");
        let again = (!told).then(|| event::id_document(id));
        match &mut self.loaded {
            None => {
                let known = self.changed.entry(key).or_insert_with(|| again.clone());
                if again.is_none() {
                    *known = None;
                }
            }
            Some(loaded) => {
                if let Some(i) = loaded.by_key.remove(&key) {
                    loaded.documents[i] = None;
                    loaded.again.extend(again);
                }
            }
        }
    }

    /// Takes what was read.
    pub(crate) fn load(&mut self, chunk: Chunk) {
        if self.request.ids.is_empty() {
            self.outcome.end = chunk.end;
            self.outcome.last = chunk
                .documents
                .last()
                .and_then(|last| last.get("_id").ok().flatten())
                .map(event::id_document);
        }
        let mut loaded = Loaded {
            documents: Vec::with_capacity(chunk.documents.len()),
            by_key: HashMap::with_capacity(chunk.documents.len()),
            again: Vec::new(),
            high: chunk.high,
            read_at: chunk.read_at,
        };
        for document in chunk.documents {
            let Ok(Some(id)) = document.get("_id") else {
                continue;
            };
            let key = event::hash(id);
            match self.changed.get(&key) {
                Some(again) => loaded.again.extend(again.clone()),
                None => {
                    loaded.by_key.insert(key, loaded.documents.len());
                    loaded.documents.push(Some(document));
                }
            }
        }
        self.changed = HashMap::new();
        self.loaded = Some(loaded);
    }

    /// The stream has passed it.
    pub(crate) fn finish(self) -> Finished {
        let loaded = self.loaded;
        let (documents, again, read_at) = match loaded {
            Some(loaded) => (
                loaded.documents.into_iter().flatten().collect(),
                loaded.again,
                loaded.read_at,
            ),
            None => (Vec::new(), Vec::new(), Instant::now()),
        };
        Finished {
            request: self.request,
            documents,
            again,
            read_at,
            outcome: self.outcome,
        }
    }
}

#[cfg(test)]
mod tests {
    use mongodb::bson::{RawDocument, rawdoc};

    use super::*;

    fn window() -> Window {
        let request = ChunkRequest {
            database: "shop".into(),
            collection: "orders".into(),
            filter: None,
            after: None,
            ids: Vec::new(),
            limit: 10,
        };
        Window::new(request, Outcome::default())
    }

    fn chunk(ids: std::ops::Range<i32>) -> Chunk {
        Chunk {
            documents: ids.map(|id| rawdoc! { "_id": id, "v": "read" }).collect(),
            end: false,
            high: Timestamp {
                time: 9,
                increment: 1,
            },
            read_at: Instant::UNIX_EPOCH,
        }
    }

    fn change<'a>(
        operation: &'a str,
        key: &'a RawDocument,
        after: Option<&'a RawDocument>,
    ) -> Change<'a> {
        Change {
            operation,
            key: Some(key),
            after,
            ..Change::default()
        }
    }

    fn ids(documents: &[RawDocumentBuf]) -> Vec<i32> {
        documents
            .iter()
            .map(|d| d.get_i32("_id").unwrap())
            .collect()
    }

    #[test]
    fn what_changed_before_or_after_reading_is_left_out() {
        let mut window = window();
        window.note(&change("delete", &rawdoc! { "_id": 1 }, None));
        window.load(chunk(0..5));
        window.note(&change(
            "replace",
            &rawdoc! { "_id": 3 },
            Some(&rawdoc! { "_id": 3 }),
        ));
        window.note(&change("insert", &rawdoc! { "_id": 77 }, None));
        let finished = window.finish();
        assert_eq!(ids(&finished.documents), [0, 2, 4]);
        assert!(finished.again.is_empty());
        assert_eq!(finished.outcome.last.unwrap(), rawdoc! { "_id": 4 });
    }

    #[test]
    fn what_only_changed_in_part_is_read_again() {
        let mut window = window();
        window.note(&change("update", &rawdoc! { "_id": 1 }, None));
        window.note(&change("update", &rawdoc! { "_id": 2 }, None));
        window.note(&change(
            "replace",
            &rawdoc! { "_id": 2 },
            Some(&rawdoc! { "_id": 2 }),
        ));
        window.load(chunk(0..5));
        window.note(&change("update", &rawdoc! { "_id": 3 }, None));
        let finished = window.finish();
        assert_eq!(ids(&finished.documents), [0, 4]);
        assert_eq!(ids(&finished.again), [1, 3]);
    }

    #[test]
    fn a_number_of_another_type_is_another_document() {
        let mut window = window();
        window.note(&change("delete", &rawdoc! { "_id": 1_i64 }, None));
        window.load(chunk(1..2));
        assert_eq!(ids(&window.finish().documents), [1]);
    }
}
