//! Reads the documents of a chunk.

use std::time::Duration;

use futures::StreamExt;
use headgate_sdk::Timestamp as Instant;
use mongodb::{
    Client,
    bson::{Document, RawBsonRef, RawDocumentBuf, Timestamp, cstr, rawdoc},
    error::Error,
};
use tokio::time::timeout;

use crate::{event::id_document, stream::operation_time};

/// How long the server may take for one reply.
const PATIENCE: Duration = Duration::from_secs(300);
/// A chunk is closed once it holds so many bytes.
const FULL_BYTES: usize = 16 << 20;

/// What to read.
#[derive(Debug, Clone)]
pub(crate) struct ChunkRequest {
    pub(crate) database: String,
    pub(crate) collection: String,
    pub(crate) filter: Option<Document>,
    /// `{_id: …}`: only documents after this one, in the order of the `_id` index.
    pub(crate) after: Option<RawDocumentBuf>,
    /// If there are any: only these documents, each `{_id: …}`.
    pub(crate) ids: Vec<RawDocumentBuf>,
    pub(crate) limit: u32,
}

/// What was read.
#[derive(Debug)]
pub(crate) struct Chunk {
    pub(crate) documents: Vec<RawDocumentBuf>,
    /// Whether the collection ends with it.
    pub(crate) end: bool,
    /// No document is from after this cluster time.
    pub(crate) high: Timestamp,
    pub(crate) read_at: Instant,
}

impl ChunkRequest {
    /// Reads it, from a majority of the members.
    ///
    /// The lower bound is one of the index (`min`), because a `$gt` compares only within one type.
    ///
    /// # Errors
    /// What the server or the driver said.
    pub(crate) async fn read(self, client: Client) -> Result<Chunk, Error> {
        let database = client.database(&self.database);
        let mut request = database.run_raw_cursor_command(self.command()?);
        if let Some(criteria) = client.selection_criteria() {
            request = request.selection_criteria(criteria.clone());
        }
        let silent = |_| {
            let silent = format!("the server has not answered for {PATIENCE:?}");
            Error::from(std::io::Error::new(std::io::ErrorKind::TimedOut, silent))
        };
        let mut cursor = timeout(PATIENCE, Box::pin(request.batch()))
            .await
            .map_err(silent)??;
        let mut chunk = Chunk {
            documents: Vec::new(),
            end: true,
            high: Timestamp {
                time: 0,
                increment: 0,
            },
            read_at: Instant::now(),
        };
        let mut bytes = 0;
        'replies: while let Some(reply) = timeout(PATIENCE, cursor.next()).await.map_err(silent)? {
            let reply = reply?;
            if let Some(at) = operation_time(reply.as_raw_document()) {
                chunk.high = chunk.high.max(at);
            }
            for document in reply.doc_slices()? {
                let RawBsonRef::Document(document) = document? else {
                    continue;
                };
                // In the order of the index, the bound can only come first.
                if chunk.documents.is_empty() && self.is_bound(document) {
                    continue;
                }
                if bytes >= FULL_BYTES || chunk.documents.len() >= self.limit as usize {
                    chunk.end = false;
                    break 'replies;
                }
                bytes += document.as_bytes().len();
                chunk.documents.push(document.to_owned());
            }
        }
        Ok(chunk)
    }

    /// Whether a document is the lower bound itself.
    fn is_bound(&self, document: &mongodb::bson::RawDocument) -> bool {
        let (Some(after), Ok(Some(id))) = (&self.after, document.get("_id")) else {
            return false;
        };
        id_document(id) == *after
    }

    fn command(&self) -> Result<RawDocumentBuf, Error> {
        let mut command = rawdoc! { "find": self.collection.as_str() };
        let mut filter = match &self.filter {
            Some(filter) => RawDocumentBuf::try_from(filter)?,
            None => RawDocumentBuf::new(),
        };
        if !self.ids.is_empty() {
            let mut ids = mongodb::bson::RawArrayBuf::new();
            for id in &self.ids {
                if let Some(id) = id.get("_id")? {
                    ids.push(id);
                }
            }
            let mut both = mongodb::bson::RawArrayBuf::new();
            both.push(rawdoc! { "_id": { "$in": ids } });
            both.push(filter);
            filter = rawdoc! { "$and": both };
        }
        command.append(cstr!("filter"), filter);
        if let Some(after) = &self.after {
            command.append(cstr!("min"), after.clone());
        }
        command.append(cstr!("hint"), rawdoc! { "_id": 1 });
        command.append(cstr!("sort"), rawdoc! { "_id": 1 });
        // One for the bound, one to see whether there are more.
        command.append(cstr!("limit"), i64::from(self.limit) + 2);
        command.append(cstr!("readConcern"), rawdoc! { "level": "majority" });
        Ok(command)
    }
}
