//! Reading what exists already, interleaved with the stream.
//!
//! A collection is read in chunks in the order of `_id`. The server gives no watermarks to readers, but every reply says up to which
//! cluster time its node had come: a chunk is held until the stream has passed the time of its last reply, and a document that
//! changed between the moment reading began and that time is left out, because its events say more.
//!
//! Invariants: when a document of a chunk is sent, every change up to the time it was read at has been sent, and no later one; a
//! chunk's progress rides on the batch with its last document; a chunk that was interrupted is read again under the same number.

mod chunk;
mod window;

pub(crate) use chunk::{Chunk, ChunkRequest};
pub(crate) use window::{Finished, Outcome, Window};

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use headgate_sdk::{Entry, Lane, LaneError, Str, Timestamp};
use mongodb::bson::{Bson, Document, RawDocumentBuf};
use serde::{Deserialize, Serialize};

const PREFIX: &str = "snapshot/";
const PAGE: usize = 1000;

/// How far the snapshot of a collection is; an entry of the lane's checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Progress {
    /// The snapshot's name, part of its events' ids.
    pub(crate) snapshot: String,
    /// The chunk that comes next.
    pub(crate) chunk: u64,
    /// The last `_id` that was read: base64 of the BSON `{_id: …}`, exact for every type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) after: Option<String>,
    /// Only documents that match this Extended JSON query.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) filter: Option<String>,
    pub(crate) documents: u64,
    pub(crate) done: bool,
}

impl Progress {
    fn start(snapshot: String, filter: Option<String>) -> Self {
        Self {
            snapshot,
            chunk: 0,
            after: None,
            filter,
            documents: 0,
            done: false,
        }
    }
}

/// The snapshots of a source, by `database.collection`.
#[derive(Debug, Default)]
pub(crate) struct Snapshots {
    progress: BTreeMap<String, Progress>,
}

impl Snapshots {
    /// What the checkpoint holds.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(crate) async fn load(lane: &Lane) -> Result<Self, LaneError> {
        let mut progress = BTreeMap::new();
        let mut after: Option<Str> = None;
        loop {
            let page = lane.entries(PREFIX, after.as_deref(), PAGE).await?;
            for (key, value) in &page {
                // An entry that cannot be read is from another version: that collection is simply read again when asked for.
                if let Ok(read) = serde_json::from_slice(value) {
                    progress.insert(key[PREFIX.len()..].to_owned(), read);
                }
            }
            match page.last() {
                Some((key, _)) if page.len() == PAGE => after = Some(key.clone()),
                _ => return Ok(Self { progress }),
            }
        }
    }

    /// A name for a snapshot that begins now.
    pub(crate) fn name() -> String {
        Timestamp::now().strftime("%Y%m%dT%H%M%S%3fZ").to_string()
    }

    /// Plans a collection, from its beginning.
    pub(crate) fn plan(
        &mut self,
        namespace: &str,
        snapshot: String,
        filter: Option<String>,
    ) -> Entry {
        let progress = Progress::start(snapshot, filter);
        let entry = entry(namespace, &progress);
        self.progress.insert(namespace.to_owned(), progress);
        entry
    }

    /// The collection that is read now or next.
    pub(crate) fn current(&self) -> Option<(&str, &Progress)> {
        self.progress
            .iter()
            .find(|(_, progress)| !progress.done)
            .map(|(namespace, progress)| (namespace.as_str(), progress))
    }

    /// How far a collection is.
    pub(crate) fn get(&self, namespace: &str) -> Option<&Progress> {
        self.progress.get(namespace)
    }

    /// All of them.
    pub(crate) fn all(&self) -> &BTreeMap<String, Progress> {
        &self.progress
    }

    /// Notes that a chunk is done: `last` is the last `_id` it read, `documents` how many were sent of it.
    pub(crate) fn advance(
        &mut self,
        namespace: &str,
        last: Option<&RawDocumentBuf>,
        documents: u64,
        end: bool,
    ) -> Option<Entry> {
        let progress = self.progress.get_mut(namespace)?;
        progress.chunk += 1;
        progress.documents += documents;
        progress.done = end;
        if let Some(last) = last {
            progress.after = Some(STANDARD.encode(last.as_bytes()));
        }
        Some(entry(namespace, progress))
    }

    /// Notes that there is nothing left to read: the collection was dropped or renamed.
    pub(crate) fn end(&mut self, namespace: &str) -> Option<Entry> {
        let progress = self.progress.get_mut(namespace).filter(|p| !p.done)?;
        progress.done = true;
        Some(entry(namespace, progress))
    }

    /// What to read next.
    pub(crate) fn request(&self, limit: u32) -> Option<ChunkRequest> {
        let (namespace, progress) = self.current()?;
        let (database, collection) = namespace.split_once('.')?;
        let after = progress
            .after
            .as_deref()
            .and_then(|after| RawDocumentBuf::from_bytes(STANDARD.decode(after).ok()?).ok());
        let filter = progress
            .filter
            .as_deref()
            .and_then(|filter| read_filter(filter).ok());
        Some(ChunkRequest {
            database: database.to_owned(),
            collection: collection.to_owned(),
            filter,
            after,
            ids: Vec::new(),
            limit,
        })
    }
}

fn entry(namespace: &str, progress: &Progress) -> Entry {
    let value = serde_json::to_vec(progress).unwrap_or_default();
    Entry::put(format!("{PREFIX}{namespace}"), value)
}

/// Reads an operator's filter.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn read_filter(text: &str) -> Result<Document, String> {
    match serde_json::from_str::<Bson>(text) {
        Ok(Bson::Document(filter)) => Ok(filter),
        Ok(_) => Err("a filter is a query object, such as {\"status\": \"open\"}".into()),
        Err(error) => Err(format!(
            "the filter is no Extended JSON: {error}; write a query object, such as {{\"status\": \"open\"}}"
        )),
    }
}

#[cfg(test)]
mod tests {
    use mongodb::bson::rawdoc;

    use super::*;

    #[test]
    fn collections_are_read_one_after_the_other_and_progress_is_exact() {
        let mut snapshots = Snapshots::default();
        snapshots.plan(
            "shop.b",
            "1".into(),
            Some("{\"a\":{\"$numberLong\":\"1\"}}".into()),
        );
        snapshots.plan("shop.a.x", "1".into(), None);
        assert_eq!(snapshots.request(5).unwrap().collection, "a.x");
        let last = rawdoc! { "_id": f64::NAN };
        snapshots.advance("shop.a.x", Some(&last), 5, false);
        let request = snapshots.request(5).unwrap();
        assert_eq!(request.after.unwrap().as_bytes(), last.as_bytes());
        snapshots.advance("shop.a.x", None, 0, true);
        let request = snapshots.request(5).unwrap();
        assert_eq!(request.collection, "b");
        assert_eq!(request.filter.unwrap().get_i64("a").unwrap(), 1);
        assert!(snapshots.end("shop.b").is_some());
        assert!(snapshots.end("shop.b").is_none());
        assert!(snapshots.request(5).is_none());
    }

    #[test]
    fn filters_are_query_objects() {
        assert!(read_filter("{\"at\":{\"$gt\":{\"$date\":\"2026-01-01T00:00:00Z\"}}}").is_ok());
        for bad in ["", "7", "{a:1}", "[]"] {
            assert!(read_filter(bad).is_err(), "{bad}");
        }
    }
}
