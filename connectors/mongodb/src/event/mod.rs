//! Events: what a change or a document becomes.
//!
//! The data has the shape of every change event of Headgate (`op`, `before`, `after`, `source`, `ts_ms`, `transaction`), so that one
//! reader serves all databases; `updateDescription` is kept beside it.
//!
//! Invariants: an id is a function of the server's token, or of the snapshot and the document; a document that cannot be written
//! is rejected with its place and never half in the batch.

mod key;
#[cfg(test)]
mod tests;

pub(crate) use key::hash;

use std::io::Write as _;

use headgate_sdk::{
    DeadLetter, Envelope, Op, Str, Timestamp,
    batch::{Outgoing, Payload},
    envelope::{json::write_string, legal_string},
};
use mongodb::bson::{self, RawBsonRef, RawDocument};

use crate::{
    change::Change,
    config::FullDocument,
    json::{self, JsonError, JsonFormat},
    position::StreamPosition,
};

/// A batch is sent when it has this many events or bytes of data.
const BATCH_EVENTS: usize = 1_000;
const BATCH_BYTES: usize = 1 << 20;

/// What a source's configuration says about its events.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) name: Str,
    pub(crate) urn: Str,
    pub(crate) tenant: Str,
    pub(crate) event_type: Str,
    pub(crate) format: JsonFormat,
    pub(crate) full_document: FullDocument,
    pub(crate) tombstones: bool,
}

/// A document that a snapshot read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SnapshotDocument<'a> {
    /// The snapshot's name.
    pub(crate) snapshot: &'a str,
    pub(crate) database: &'a str,
    pub(crate) collection: &'a str,
    /// Number of the chunk.
    pub(crate) chunk: u64,
    /// When it was read.
    pub(crate) read_at: Timestamp,
    pub(crate) document: &'a RawDocument,
}

/// Writes events into the batch being filled.
pub(crate) struct EventWriter {
    settings: Settings,
    pub(crate) outgoing: Outgoing,
    /// When what is being written was received.
    recorded: Timestamp,
    /// `"source":{"version":…,"name":…,"db":`
    source_head: Vec<u8>,
    namespace: Namespace,
    /// Where short texts are put together.
    scratch: String,
}

/// The last namespace that was written, as its events show it: most events are of the same one as the event before.
#[derive(Debug, Default)]
struct Namespace {
    database: String,
    collection: Option<String>,
    subject: Option<Str>,
    /// `"source":{…,"db":…,"collection":…`
    source: Vec<u8>,
}

impl EventWriter {
    pub(crate) fn new(settings: Settings) -> Self {
        let mut source_head =
            b"\"source\":{\"version\":\"1\",\"connector\":\"mongodb\",\"name\":".to_vec();
        write_string(&settings.name, &mut source_head);
        source_head.extend_from_slice(b",\"db\":");
        Self {
            settings,
            outgoing: Outgoing::new(BATCH_EVENTS, BATCH_BYTES),
            recorded: Timestamp::now(),
            source_head,
            namespace: Namespace::default(),
            scratch: String::new(),
        }
    }

    /// What follows is received now.
    pub(crate) fn stamp(&mut self) {
        self.recorded = Timestamp::now();
    }

    /// Writes the event of a change, and counts it in `position`.
    pub(crate) fn change(&mut self, change: &Change<'_>, position: &mut StreamPosition) {
        let mut event = self.envelope(change, position);
        let transaction = self.count(change, position);
        let start = self.outgoing.start();
        if let Err(error) = self.write_change(change, event.op, transaction, event.time) {
            self.outgoing.data.truncate(start);
            let place = event.subject.clone();
            event.data = headgate_sdk::Data::opaque(
                change.token.map_or(&[][..], RawDocument::as_bytes).to_vec(),
            );
            let mut letter = DeadLetter::new(event, "source", "malformed", error.to_string());
            letter.place = place;
            self.outgoing.rejected.push(letter);
            return;
        }
        let tombstone = (self.settings.tombstones && event.op == Some(Op::Delete)).then(|| {
            let mut tombstone = event.clone();
            tombstone.id = format!("{}.t", event.id).into();
            tombstone.correlationid = tombstone.id.clone();
            tombstone.sequence = Some(sequence_beside(position));
            tombstone
        });
        self.outgoing.push(event, start, Payload::Json);
        if let Some(tombstone) = tombstone {
            self.outgoing.push_empty(tombstone);
        }
    }

    /// Rejects an event of which the server could send only the key.
    pub(crate) fn too_large(&mut self, change: &Change<'_>, position: &mut StreamPosition) {
        let mut event = self.envelope(change, position);
        let transaction = self.count(change, position);
        let mut only_key = *change;
        (only_key.after, only_key.before, only_key.update) = (None, None, None);
        let start = self.outgoing.start();
        let written = self.write_change(&only_key, event.op, transaction, event.time);
        let data = self.outgoing.data.split_off(start);
        if written.is_ok() {
            event.data = headgate_sdk::Data::json(data);
        }
        let place = event.subject.clone();
        let mut letter = DeadLetter::new(
            event,
            "source",
            "too_large",
            "the change is larger than the server can send (16 MB): read the document by its key, or upgrade to a server that splits large events (6.0.9, 7.0 and later)",
        );
        letter.place = place;
        self.outgoing.rejected.push(letter);
    }

    /// Writes a document that a snapshot read, to be placed at `position`.
    pub(crate) fn snapshot_document(
        &mut self,
        read: &SnapshotDocument<'_>,
        position: &mut StreamPosition,
    ) {
        self.remember(read.database, Some(read.collection));
        let namespace = format!("{}.{}", read.database, read.collection);
        let id = read.document.get("_id").ok().flatten();
        let hash = id.map_or(0, hash);
        let event_id = format!(
            "snap/{}/{namespace}/{hash:032x}/{}",
            read.snapshot, read.chunk
        );
        let mut event = self.named(legal_string(&event_id).into(), read.read_at);
        event.sequence = Some(sequence_beside(position));
        event.subject = self.namespace.subject.clone();
        event.partitionkey = id.and_then(key::text);
        event.op = Some(Op::Read);
        let start = self.outgoing.start();
        let written = self.write_read(read, position);
        if let Err(error) = written {
            self.outgoing.data.truncate(start);
            let mut letter = DeadLetter::new(event, "source", "malformed", error.to_string());
            letter.place = Some(namespace.into());
            self.outgoing.rejected.push(letter);
            return;
        }
        self.outgoing.push(event, start, Payload::Json);
    }

    /// Writes that changes after `lost` are gone.
    pub(crate) fn history_lost(&mut self, lost: &mut StreamPosition, reason: &str, scope: &str) {
        let start = self.outgoing.start();
        let mut event = self.named(
            format!(
                "{}-lost",
                token_hash(
                    &mongodb::bson::RawDocumentBuf::try_from(&lost.token).unwrap_or_default()
                )
            )
            .into(),
            self.recorded,
        );
        event.event_type = Str::new_static("mongodb.history.lost.v1");
        event.subject = Some(legal_string(scope).into());
        event.op = Some(Op::Message);
        event.sequence = Some(sequence_beside(lost));
        let out = &mut self.outgoing.data;
        out.extend_from_slice(b"{\"reason\":");
        write_string(reason, out);
        let _infallible = write!(
            out,
            ",\"since\":{{\"t\":{},\"i\":{}}},\"next\":\"snapshot\"}}",
            lost.time.0, lost.time.1
        );
        self.outgoing.push(event, start, Payload::Json);
    }

    /// Makes [`Namespace`] that of the next event.
    fn remember(&mut self, database: &str, collection: Option<&str>) {
        let known = &mut self.namespace;
        let is_same = known.database == database && known.collection.as_deref() == collection;
        if is_same && !known.source.is_empty() {
            return;
        }
        known.database = database.to_owned();
        known.collection = collection.map(str::to_owned);
        let subject = match collection {
            Some(collection) => format!("{database}.{collection}"),
            None => database.to_owned(),
        };
        known.subject = (!subject.is_empty()).then(|| legal_string(&subject).into());
        known.source.clear();
        known.source.extend_from_slice(&self.source_head);
        write_string(database, &mut known.source);
        known.source.extend_from_slice(b",\"collection\":");
        match collection {
            Some(collection) => write_string(collection, &mut known.source),
            None => known.source.extend_from_slice(b"null"),
        }
    }

    fn envelope(&mut self, change: &Change<'_>, position: &mut StreamPosition) -> Envelope {
        self.remember(change.database, change.collection);
        let ordinal = position.count(change.cluster_time);
        let time = change
            .wall_time
            .and_then(|at| Timestamp::from_millisecond(at.timestamp_millis()).ok())
            .or_else(|| Timestamp::from_second(i64::from(change.cluster_time?.time)).ok())
            .unwrap_or(self.recorded);
        let id = change.token.map(token_hash).unwrap_or_default();
        let mut event = self.named(id, time);
        self.scratch.clear();
        write_sequence(position, ordinal, &mut self.scratch);
        event.sequence = Some(Str::new(&self.scratch));
        event.subject = self.namespace.subject.clone();
        event.partitionkey = change.id().and_then(key::text);
        event.op = match change.operation {
            "insert" => Some(Op::Create),
            "update" | "replace" => Some(Op::Update),
            "delete" => Some(Op::Delete),
            "drop" => Some(Op::Truncate),
            _ => None,
        };
        event.event_type = match change.operation {
            "insert" | "update" | "replace" | "delete" => self.settings.event_type.clone(),
            "drop" => Str::new_static("mongodb.collection.dropped.v1"),
            "rename" => Str::new_static("mongodb.collection.renamed.v1"),
            "dropDatabase" => Str::new_static("mongodb.database.dropped.v1"),
            "invalidate" => Str::new_static("mongodb.stream.invalidated.v1"),
            _ => Str::new_static("mongodb.schema.changed.v1"),
        };
        event
    }

    /// The transaction's id and the event's two numbers in it.
    fn count(
        &self,
        change: &Change<'_>,
        position: &mut StreamPosition,
    ) -> Option<(String, u64, u64)> {
        let Some(id) = transaction_id(change) else {
            position.leave_transaction();
            return None;
        };
        let namespace = format!(
            "{}.{}",
            change.database,
            change.collection.unwrap_or_default()
        );
        let (total, count) = position.count_in(&id, &namespace);
        Some((id, total, count))
    }

    fn named(&self, id: Str, time: Timestamp) -> Envelope {
        let mut event = Envelope::new(
            id,
            self.settings.urn.clone(),
            self.settings.event_type.clone(),
            time,
            headgate_sdk::Data::none(),
        );
        event.recordedtime = self.recorded;
        event.tenantid = self.settings.tenant.clone();
        event
    }

    fn write_change(
        &mut self,
        change: &Change<'_>,
        op: Option<Op>,
        transaction: Option<(String, u64, u64)>,
        time: Timestamp,
    ) -> Result<(), JsonError> {
        let format = self.settings.format;
        let out = &mut self.outgoing.data;
        match op {
            Some(op) => {
                let _infallible = write!(out, "{{\"op\":\"{}\",\"before\":", op.as_str());
            }
            None => out.extend_from_slice(b"{\"op\":null,\"before\":"),
        }
        optional(change.before, format, out)?;
        out.extend_from_slice(b",\"after\":");
        optional(change.after, format, out)?;
        if let Some(key) = change.key {
            out.extend_from_slice(b",\"documentKey\":");
            json::write_document(key, format, out)?;
        }
        if let Some(update) = change.update {
            out.extend_from_slice(b",\"updateDescription\":");
            json::write_document(update, format, out)?;
        }
        if let Some((database, collection)) = change.to {
            out.extend_from_slice(b",\"to\":{\"db\":");
            write_string(database, out);
            out.extend_from_slice(b",\"collection\":");
            write_string(collection, out);
            out.push(b'}');
        }
        if let Some(description) = change.description {
            out.extend_from_slice(b",\"operationDescription\":");
            json::write_document(description, format, out)?;
        }
        out.push(b',');
        out.extend_from_slice(&self.namespace.source);
        out.extend_from_slice(b",\"snapshot\":false,\"operation\":");
        write_string(change.operation, out);
        if change.operation == "update" {
            let from = match (change.after, self.settings.full_document) {
                (None, _) => "none",
                (Some(_), FullDocument::UpdateLookup) => "update_lookup",
                (Some(_), _) => "post_image",
            };
            let _infallible = write!(out, ",\"after_from\":\"{from}\"");
        }
        if let Some(session) = change.session {
            out.extend_from_slice(b",\"lsid\":");
            json::write_document(session, format, out)?;
        }
        if let Some(number) = change.transaction {
            let _infallible = write!(out, ",\"txnNumber\":{number}");
        }
        let mut digits = itoa::Buffer::new();
        if let Some(at) = change.cluster_time {
            out.extend_from_slice(b",\"cluster_time\":\"");
            out.extend_from_slice(digits.format(at.time).as_bytes());
            out.push(b':');
            out.extend_from_slice(digits.format(at.increment).as_bytes());
            out.push(b'"');
        }
        let millis = digits.format(time.as_millisecond()).as_bytes();
        out.extend_from_slice(b",\"ts_ms\":");
        out.extend_from_slice(millis);
        out.extend_from_slice(b"},\"ts_ms\":");
        out.extend_from_slice(millis);
        out.extend_from_slice(b",\"transaction\":");
        match transaction {
            Some((id, total, count)) => {
                out.extend_from_slice(b"{\"id\":");
                write_string(&id, out);
                let _infallible = write!(
                    out,
                    ",\"total_order\":{total},\"data_collection_order\":{count}}}}}"
                );
            }
            None => out.extend_from_slice(b"null}"),
        }
        Ok(())
    }

    fn write_read(
        &mut self,
        read: &SnapshotDocument<'_>,
        position: &StreamPosition,
    ) -> Result<(), JsonError> {
        let out = &mut self.outgoing.data;
        out.extend_from_slice(b"{\"op\":\"r\",\"before\":null,\"after\":");
        json::write_document(read.document, self.settings.format, out)?;
        out.push(b',');
        out.extend_from_slice(&self.namespace.source);
        let millis = read.read_at.as_millisecond();
        let _infallible = write!(
            out,
            ",\"snapshot\":true,\"operation\":\"read\",\"cluster_time\":\"{}:{}\",\"ts_ms\":{millis}}},\"ts_ms\":{millis},\"transaction\":null}}",
            position.time.0, position.time.1
        );
        Ok(())
    }
}

fn optional(
    document: Option<&RawDocument>,
    format: JsonFormat,
    out: &mut Vec<u8>,
) -> Result<(), JsonError> {
    match document {
        Some(document) => json::write_document(document, format, out),
        None => {
            out.extend_from_slice(b"null");
            Ok(())
        }
    }
}

/// 32 hex digits of the hash of a token's `_data`, or of the whole token if it has none.
pub(crate) fn token_hash(token: &RawDocument) -> Str {
    let hash = match token.get("_data") {
        Ok(Some(RawBsonRef::String(data))) => blake3::hash(data.as_bytes()),
        Ok(Some(RawBsonRef::Binary(data))) => blake3::hash(data.bytes),
        _ => blake3::hash(token.as_bytes()),
    };
    Str::new(&hash.to_hex().as_str()[..32])
}

/// Cluster time, then the number of the event among those of the same time.
fn sequence(position: &StreamPosition, ordinal: u64) -> String {
    let mut text = String::with_capacity(27);
    write_sequence(position, ordinal, &mut text);
    text
}

/// What comes behind an event and before the next one: the event's own, then a number.
fn sequence_beside(position: &mut StreamPosition) -> Str {
    let number = position.count_beside();
    let event = sequence(position, position.ordinal.saturating_sub(1));
    format!("{event}-{number:010}").into()
}

fn write_sequence(position: &StreamPosition, ordinal: u64, out: &mut String) {
    use std::fmt::Write as _;
    let (seconds, increment) = position.time;
    let _infallible = write!(out, "{seconds:08x}{increment:08x}-{ordinal:010}");
}

/// `{session}:{number}` of an event that was part of a transaction.
fn transaction_id(change: &Change<'_>) -> Option<String> {
    let (session, number) = (change.session?, change.transaction?);
    let mut id = Vec::with_capacity(56);
    match session.get("id") {
        Ok(Some(RawBsonRef::Binary(binary))) => json::hex(binary.bytes, &mut id),
        _ => json::hex(blake3::hash(session.as_bytes()).as_bytes(), &mut id),
    }
    let _infallible = write!(id, ":{number}");
    String::from_utf8(id).ok()
}

/// The bytes of `{"_id": id}`.
pub(crate) fn id_document(id: RawBsonRef<'_>) -> bson::RawDocumentBuf {
    let mut document = bson::RawDocumentBuf::new();
    document.append(bson::cstr!("_id"), id);
    document
}
