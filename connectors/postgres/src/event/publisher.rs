//! Follows the stream and writes events.

use std::{
    collections::{HashMap, VecDeque},
    io::Write,
    sync::Arc,
};

use headgate_sdk::{
    DeadLetter, Envelope, ExtensionValue, Op, Str, Timestamp, envelope::legal_string,
};

use super::{
    outgoing::{Outgoing, Payload},
    row::{self, Extent, NotText},
    table::{Table, Tables},
    window::Window,
};
use crate::{
    config::Fullness,
    lsn::Lsn,
    pgoutput::{ColumnValue, Message, OldKind, Tuple},
    position::{StreamPosition, Timelines},
    types::{Kind, Rendering, write_json_string},
};

/// What a source's configuration says about its events.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) rendering: Rendering,
    pub(crate) events: Fullness,
    pub(crate) event_type: Str,
    pub(crate) tombstones: bool,
    pub(crate) transaction_events: bool,
    /// Prefixes of logical messages that become events.
    pub(crate) messages: Vec<String>,
    /// Whether changes that came from elsewhere are left out.
    pub(crate) local_only: bool,
    /// The source's name in the configuration.
    pub(crate) name: Str,
    pub(crate) urn: Str,
    pub(crate) tenant: Str,
    pub(crate) database: String,
    /// The prefix of our own logical messages.
    pub(crate) mark_prefix: String,
    /// Tells this run's marks from those of earlier ones.
    pub(crate) session: String,
}

/// Which cluster this is.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    pub(crate) system: String,
    pub(crate) timelines: Timelines,
}

/// A logical message of our own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mark {
    Low { window: u64, relation: u32 },
    High { window: u64 },
}

/// The prefix of messages that report DDL.
pub(crate) const DDL_PREFIX: &str = "headgate:ddl";

/// A stream that makes no sense.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PublishError {
    #[error("a change of relation {0} came before its description")]
    UnknownRelation(u32),
    #[error("a change came outside a transaction")]
    OutsideTransaction,
}

/// The transaction under way.
#[derive(Debug)]
struct Transaction {
    commit: Lsn,
    time: i64,
    /// Messages so far.
    ordinal: u64,
    /// Messages up to this one are in the checkpoint; `u64::MAX`: all of them, and the commit too.
    skip: u64,
    /// Whether the changes came from elsewhere and are not wanted.
    foreign: bool,
    /// Whether an event was sent of it, now or before a restart.
    begun: bool,
    /// `{timeline}/{commit}-`
    id: Vec<u8>,
    /// `"txId":…` up to and including `"total_order":`
    tail: Vec<u8>,
    /// Messages by table, of the table that was last first.
    current: (u32, u64),
    counts: HashMap<u32, u64>,
}

/// See the [module](super).
pub(crate) struct Publisher {
    settings: Settings,
    identity: Identity,
    tables: Tables,
    pub(crate) outgoing: Outgoing,
    transaction: Option<Transaction>,
    /// What is done, when no transaction is under way.
    settled: (Lsn, u64),
    confirm: Lsn,
    pub(crate) windows: Vec<Window>,
    /// Tables that are being read, and the keys of their rows that must be read again: a row that moved from the part that was not
    /// read into the part that was, without its TOASTed values.
    pub(crate) moved: HashMap<u32, Vec<Vec<String>>>,
    /// `"source":{…,"db":…,`
    source_head: Vec<u8>,
    /// When the batch being filled was begun.
    recorded: Timestamp,
    unchanged: Vec<usize>,
    /// Transactions that were passed lately, for chunks whose snapshot may be older than the stream.
    passed: Passed,
}

impl Publisher {
    pub(crate) fn new(settings: Settings, identity: Identity, resume: &StreamPosition) -> Self {
        let mut source_head =
            b"\"source\":{\"version\":\"1\",\"connector\":\"postgres\",\"name\":".to_vec();
        write_json_string(&settings.name, &mut source_head);
        source_head.extend_from_slice(b",\"db\":");
        write_json_string(&settings.database, &mut source_head);
        source_head.push(b',');
        Self {
            settings,
            identity,
            tables: Tables::default(),
            outgoing: Outgoing::default(),
            transaction: None,
            settled: (resume.lsn, resume.ordinal),
            confirm: resume.confirm,
            windows: Vec::new(),
            moved: HashMap::new(),
            source_head,
            recorded: Timestamp::now(),
            unchanged: Vec::new(),
            passed: Passed::default(),
        }
    }

    /// Where to resume if everything written so far is durable.
    pub(crate) fn position(&self) -> StreamPosition {
        let (lsn, ordinal) = match &self.transaction {
            Some(t) if t.skip != u64::MAX => (t.commit, t.ordinal.max(t.skip)),
            _ => self.settled,
        };
        StreamPosition {
            system: self.identity.system.clone(),
            timeline: self.identity.timelines.of(Lsn(lsn.0.saturating_sub(1))),
            lsn,
            ordinal,
            confirm: self.confirm,
        }
    }

    /// Whether no transaction is under way.
    pub(crate) fn between_transactions(&self) -> bool {
        self.transaction.is_none()
    }

    /// Everything before `lsn` was seen although nothing of it was sent. Returns whether that is news.
    pub(crate) fn advance(&mut self, lsn: Lsn) -> bool {
        let news = self.transaction.is_none() && lsn > self.settled.0;
        if news {
            self.settled = (lsn, 0);
            self.confirm = lsn;
        }
        news
    }

    /// Takes a table's description; its later changes are read by it.
    pub(crate) fn learn(&mut self, table: Arc<Table>) {
        self.tables.insert(table);
    }

    /// The table as the stream last described it.
    pub(crate) fn table(&mut self, relation: u32) -> Option<Arc<Table>> {
        self.tables.get(relation)
    }

    /// Whether what comes now is in the checkpoint already.
    pub(crate) fn is_skipping(&self) -> bool {
        self.transaction
            .as_ref()
            .is_some_and(|t| t.ordinal < t.skip)
    }

    /// The key of a row, as its events have it.
    pub(crate) fn key_text(&self, table: &Table, row: Tuple<'_>) -> Option<Str> {
        table.key_text(row, None, self.settings.rendering)
    }

    /// The commit of the transaction under way.
    pub(crate) fn commit_lsn(&self) -> Option<Lsn> {
        self.transaction.as_ref().map(|t| t.commit)
    }

    /// Whether transaction `xid` was passed lately, and committed before `low`.
    pub(crate) fn has_passed(&self, xid: u32, low: Lsn) -> bool {
        self.passed.contains(xid, low)
    }

    /// A new batch begins: its events are received now.
    pub(crate) fn stamp(&mut self) {
        self.recorded = Timestamp::now();
    }

    /// A transaction begins.
    pub(crate) fn begin(&mut self, xid: u32, commit: Lsn, time: i64) {
        let skip = match commit.cmp(&self.settled.0) {
            std::cmp::Ordering::Less => u64::MAX,
            std::cmp::Ordering::Equal => self.settled.1,
            std::cmp::Ordering::Greater => 0,
        };
        self.passed.push(xid, commit);
        let id = format!("{}/{:016X}-", self.identity.timelines.of(commit), commit.0);
        let millis = time.div_euclid(1000);
        let tail = format!(
            "\"txId\":{xid},\"lsn\":{},\"ts_ms\":{millis}}},\"ts_ms\":{millis},\"transaction\":{{\"id\":\"{xid}:{commit}\",\"total_order\":",
            commit.0
        );
        self.transaction = Some(Transaction {
            commit,
            time,
            ordinal: 0,
            skip,
            foreign: false,
            begun: false,
            id: id.into_bytes(),
            tail: tail.into_bytes(),
            current: (0, 0),
            counts: HashMap::new(),
        });
    }

    /// The transaction is complete.
    pub(crate) fn commit(&mut self, end: Lsn) -> Result<(), PublishError> {
        let transaction = self
            .transaction
            .take()
            .ok_or(PublishError::OutsideTransaction)?;
        if transaction.skip == u64::MAX {
            return Ok(());
        }
        self.settled = (end, 0);
        self.confirm = end;
        if transaction.begun && self.settings.transaction_events {
            self.transaction_event(&transaction, true);
        }
        Ok(())
    }

    /// One message of the transaction under way. A mark of this run is returned, for whoever waits for it.
    #[inline]
    pub(crate) fn change(&mut self, message: &Message<'_>) -> Result<Option<Mark>, PublishError> {
        match message {
            Message::Insert { relation, new, .. } => {
                if let Some(table) = self.count(*relation)? {
                    self.insert(&table, *new);
                }
            }
            Message::Update {
                relation, old, new, ..
            } => {
                if let Some(table) = self.count(*relation)? {
                    self.update(&table, *old, *new);
                }
            }
            Message::Delete { relation, old, .. } => {
                if let Some(table) = self.count(*relation)? {
                    self.delete(&table, *old);
                }
            }
            Message::Truncate {
                relations,
                cascade,
                restart_identity,
                ..
            } => self.truncate(relations, *cascade, *restart_identity)?,
            Message::Emitted {
                transactional,
                lsn,
                prefix,
                content,
                ..
            } => return self.emitted(*transactional, *lsn, prefix, content),
            Message::Origin { .. } => {
                if let Some(transaction) = &mut self.transaction {
                    transaction.foreign = self.settings.local_only;
                }
            }
            _ => {}
        }
        Ok(None)
    }

    /// Counts a message of `relation`; the table if an event is wanted of it.
    #[inline]
    fn count(&mut self, relation: u32) -> Result<Option<Arc<Table>>, PublishError> {
        let transaction = self
            .transaction
            .as_mut()
            .ok_or(PublishError::OutsideTransaction)?;
        transaction.ordinal += 1;
        transaction.count(relation);
        let table = self
            .tables
            .get(relation)
            .ok_or(PublishError::UnknownRelation(relation))?;
        if !table.captured || transaction.foreign {
            return Ok(None);
        }
        if transaction.ordinal <= transaction.skip {
            transaction.begun = true;
            return Ok(None);
        }
        self.ensure_begun();
        Ok(Some(table))
    }

    fn ensure_begun(&mut self) {
        let Some(transaction) = &mut self.transaction else {
            return;
        };
        if !transaction.begun {
            transaction.begun = true;
            if self.settings.transaction_events
                && let Some(transaction) = self.transaction.take()
            {
                self.transaction_event(&transaction, false);
                self.transaction = Some(transaction);
            }
        }
    }

    fn insert(&mut self, table: &Table, new: Tuple<'_>) {
        if table.outbox.is_some() {
            self.outbox(table, new);
            return;
        }
        let key = table.key_text(new, None, self.settings.rendering);
        self.note(table, key.as_ref(), false);
        self.row_event(table, Op::Create, None, Some((new, None)), key, "");
    }

    fn update(&mut self, table: &Table, old: Option<(OldKind, Tuple<'_>)>, new: Tuple<'_>) {
        if table.outbox.is_some() {
            return;
        }
        let rendering = self.settings.rendering;
        let complete_old = old
            .filter(|(kind, _)| *kind == OldKind::Full)
            .map(|(_, old)| old);
        let any_old = old.map(|(_, old)| old);
        let key = table.key_text(new, any_old, rendering);
        let old_key = any_old.map(|old| table.key_text(old, None, rendering));
        let incomplete = complete_old.is_none()
            && !self.windows.is_empty()
            && new.columns().any(|c| c == ColumnValue::Unchanged);
        self.note(table, key.as_ref(), incomplete);
        match old_key {
            Some(old_key) if old_key != key => {
                self.note(table, old_key.as_ref(), false);
                if complete_old.is_none()
                    && let Some(moved) = self.moved.get_mut(&table.relation.id)
                    && new.columns().any(|c| c == ColumnValue::Unchanged)
                {
                    moved.extend(table.key_values(new, any_old));
                }
                self.row_event(table, Op::Delete, old, None, old_key.clone(), ".0");
                if self.settings.tombstones {
                    self.tombstone(table, old_key, ".0.t");
                }
                self.row_event(
                    table,
                    Op::Create,
                    None,
                    Some((new, complete_old)),
                    key,
                    ".1",
                );
            }
            _ => self.row_event(table, Op::Update, old, Some((new, complete_old)), key, ""),
        }
    }

    fn delete(&mut self, table: &Table, old: (OldKind, Tuple<'_>)) {
        if table.outbox.is_some() {
            return;
        }
        let key = table.key_text(old.1, None, self.settings.rendering);
        self.note(table, key.as_ref(), false);
        self.row_event(table, Op::Delete, Some(old), None, key.clone(), "");
        if self.settings.tombstones {
            self.tombstone(table, key, ".t");
        }
    }

    #[inline]
    fn note(&mut self, table: &Table, key: Option<&Str>, incomplete: bool) {
        for window in &mut self.windows {
            if window.relation == table.relation.id {
                window.note(key, incomplete);
            }
        }
    }

    /// Writes one row event. `after` comes with the old row that its unchanged values may be taken from.
    fn row_event(
        &mut self,
        table: &Table,
        op: Op,
        before: Option<(OldKind, Tuple<'_>)>,
        after: Option<(Tuple<'_>, Option<Tuple<'_>>)>,
        key: Option<Str>,
        suffix: &str,
    ) {
        let start = self.outgoing.start();
        let mut unchanged = std::mem::take(&mut self.unchanged);
        unchanged.clear();
        let written = self.row_data(table, op, before, after, &mut unchanged);
        self.unchanged = unchanged;
        let mut event = self.envelope(suffix);
        event.subject = Some(table.subject.clone());
        event.partitionkey = key;
        event.op = Some(op);
        match written {
            Ok(()) => self.outgoing.push(event, start, Payload::Json),
            Err(NotText(column)) => {
                self.outgoing.data.truncate(start);
                let name = &table.relation.columns[column].name;
                let row = after.map_or_else(|| before.map(|(_, row)| row), |(row, _)| Some(row));
                let raw = row.and_then(|row| match row.columns().nth(column) {
                    Some(ColumnValue::Text(text) | ColumnValue::Binary(text)) => {
                        Some(text.to_vec())
                    }
                    _ => None,
                });
                event.data = headgate_sdk::Data::opaque(raw.unwrap_or_default());
                event.datacontenttype = Str::new_static("application/octet-stream");
                let mut letter = DeadLetter::new(
                    event,
                    "source",
                    "malformed",
                    format!(
                        "column `{name}` of {} is not UTF-8: the database's encoding is SQL_ASCII or the row was damaged",
                        table.subject
                    ),
                );
                letter.place = Some(table.subject.clone());
                self.outgoing.rejected.push(letter);
            }
        }
    }

    #[inline]
    fn row_data(
        &mut self,
        table: &Table,
        op: Op,
        before: Option<(OldKind, Tuple<'_>)>,
        after: Option<(Tuple<'_>, Option<Tuple<'_>>)>,
        unchanged: &mut Vec<usize>,
    ) -> Result<(), NotText> {
        let rendering = self.settings.rendering;
        let thin = self.settings.events == Fullness::Thin;
        let out = &mut self.outgoing.data;
        out.extend_from_slice(b"{\"op\":\"");
        out.extend_from_slice(op.as_str().as_bytes());
        out.extend_from_slice(b"\",\"before\":");
        match before {
            Some((kind, row)) => {
                let extent = if thin { Extent::Key } else { kind.into() };
                // A TOASTed value that the old row does not carry is not news of this change.
                let mut absent = Vec::new();
                row::object(table, row, None, extent, rendering, &mut absent, out)?;
            }
            None => out.extend_from_slice(b"null"),
        }
        out.extend_from_slice(b",\"after\":");
        match after {
            Some((row, fallback)) => {
                let extent = if thin { Extent::Key } else { Extent::All };
                row::object(table, row, fallback, extent, rendering, unchanged, out)?;
                row::unchanged_part(table, unchanged, out);
            }
            None => out.extend_from_slice(b"null"),
        }
        out.push(b',');
        out.extend_from_slice(&self.source_head);
        out.extend_from_slice(&table.source_part);
        out.extend_from_slice(b"\"snapshot\":false,");
        if let Some(transaction) = &self.transaction {
            transaction.write_tail(out);
        }
        Ok(())
    }

    fn tombstone(&mut self, table: &Table, key: Option<Str>, suffix: &str) {
        if key.is_none() {
            return;
        }
        let start = self.outgoing.start();
        let mut event = self.envelope(suffix);
        event.subject = Some(table.subject.clone());
        event.partitionkey = key;
        event.op = Some(Op::Delete);
        self.outgoing.push(event, start, Payload::None);
    }

    fn truncate(
        &mut self,
        relations: &[u32],
        cascade: bool,
        restart_identity: bool,
    ) -> Result<(), PublishError> {
        let transaction = self
            .transaction
            .as_mut()
            .ok_or(PublishError::OutsideTransaction)?;
        transaction.ordinal += 1;
        for (i, &relation) in relations.iter().enumerate() {
            let table = self
                .tables
                .get(relation)
                .ok_or(PublishError::UnknownRelation(relation))?;
            let Some(transaction) = &mut self.transaction else {
                return Err(PublishError::OutsideTransaction);
            };
            transaction.count(relation);
            if !table.captured || transaction.foreign || table.outbox.is_some() {
                continue;
            }
            if transaction.ordinal <= transaction.skip {
                transaction.begun = true;
                continue;
            }
            self.ensure_begun();
            for window in &mut self.windows {
                window.truncated |= window.relation == relation;
            }
            let start = self.outgoing.start();
            let out = &mut self.outgoing.data;
            out.extend_from_slice(
                b"{\"op\":\"t\",\"before\":null,\"after\":null,\"truncate\":{\"cascade\":",
            );
            out.extend_from_slice(if cascade { b"true" } else { b"false" });
            out.extend_from_slice(b",\"restart_identity\":");
            out.extend_from_slice(if restart_identity { b"true" } else { b"false" });
            out.extend_from_slice(b"},");
            out.extend_from_slice(&self.source_head);
            out.extend_from_slice(&table.source_part);
            out.extend_from_slice(b"\"snapshot\":false,");
            if let Some(transaction) = &self.transaction {
                transaction.write_tail(out);
            }
            let mut event = self.envelope(&format!(".{i}"));
            event.subject = Some(table.subject.clone());
            event.op = Some(Op::Truncate);
            self.outgoing.push(event, start, Payload::Json);
        }
        Ok(())
    }

    /// A logical message: a mark of ours, DDL, or one of the application's.
    fn emitted(
        &mut self,
        transactional: bool,
        lsn: Lsn,
        prefix: &str,
        content: &[u8],
    ) -> Result<Option<Mark>, PublishError> {
        if transactional {
            let transaction = self
                .transaction
                .as_mut()
                .ok_or(PublishError::OutsideTransaction)?;
            transaction.ordinal += 1;
        }
        if prefix == self.settings.mark_prefix {
            return Ok(mark(content, &self.settings.session));
        }
        let wanted = prefix == DDL_PREFIX
            || (!prefix.starts_with("headgate.")
                && crate::config::covers(&self.settings.messages, prefix));
        if transactional {
            let Some(transaction) = &mut self.transaction else {
                return Err(PublishError::OutsideTransaction);
            };
            if !wanted || transaction.foreign {
                return Ok(None);
            }
            if transaction.ordinal <= transaction.skip {
                transaction.begun = true;
                return Ok(None);
            }
            self.ensure_begun();
        } else {
            // Its LSN is the end of its record: whatever is settled up to there has it.
            if lsn <= self.settled.0 {
                return Ok(None);
            }
            self.settled = (lsn, 0);
            self.confirm = lsn;
            if !wanted {
                return Ok(None);
            }
        }
        self.message_event(transactional, lsn, prefix, content);
        Ok(None)
    }

    fn message_event(&mut self, transactional: bool, lsn: Lsn, prefix: &str, content: &[u8]) {
        let start = self.outgoing.start();
        let time = match &self.transaction {
            Some(transaction) if transactional => transaction.time,
            _ => self.recorded.as_microsecond(),
        };
        let out = &mut self.outgoing.data;
        out.extend_from_slice(b"{\"op\":\"m\",\"message\":{\"prefix\":");
        write_json_string(prefix, out);
        match std::str::from_utf8(content) {
            Ok(text) => {
                // A reader that knows the application's format finds JSON as JSON, everything else as a string.
                if serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok() {
                    out.extend_from_slice(b",\"json\":");
                    out.extend_from_slice(text.as_bytes());
                } else {
                    out.extend_from_slice(b",\"text\":");
                    write_json_string(text, out);
                }
            }
            Err(_) => {
                use base64::Engine;
                out.extend_from_slice(b",\"base64\":\"");
                let encoded = base64::engine::general_purpose::STANDARD.encode(content);
                out.extend_from_slice(encoded.as_bytes());
                out.push(b'"');
            }
        }
        out.extend_from_slice(b"},");
        out.extend_from_slice(&self.source_head);
        out.extend_from_slice(b"\"snapshot\":false,");
        match &self.transaction {
            Some(transaction) if transactional => transaction.write_tail(out),
            _ => {
                let millis = time.div_euclid(1000);
                let rest = format!(
                    "\"lsn\":{},\"ts_ms\":{millis}}},\"ts_ms\":{millis}}}",
                    lsn.0
                );
                out.extend_from_slice(rest.as_bytes());
            }
        }
        let mut event = if transactional {
            self.envelope("")
        } else {
            // The end of its record may be the place of the next commit's, hence a form of its own.
            let timeline = self.identity.timelines.of(lsn);
            let id = format!("{timeline}/{:016X}-m", lsn.0);
            let sequence = format!("{:016X}-", lsn.0);
            self.named(id.into(), sequence.into(), time)
        };
        event.event_type = if prefix == DDL_PREFIX {
            Str::new_static("postgres.ddl.executed.v1")
        } else {
            Str::new_static("postgres.message.emitted.v1")
        };
        event.subject = Some(legal_string(prefix).into());
        event.op = Some(Op::Message);
        self.outgoing.push(event, start, Payload::Json);
    }

    fn outbox(&mut self, table: &Table, new: Tuple<'_>) {
        let Some(columns) = &table.outbox else {
            return;
        };
        let text = |at: usize| match new.columns().nth(at) {
            Some(ColumnValue::Text(text)) => std::str::from_utf8(text).ok(),
            _ => None,
        };
        let mut event = self.envelope("");
        let start = self.outgoing.start();
        event.subject = Some(table.subject.clone());
        let (Some(id), Some(event_type)) = (
            text(columns.id).filter(|id| !id.is_empty()),
            text(columns.event_type).filter(|t| !t.is_empty()),
        ) else {
            let mut letter = DeadLetter::new(
                event,
                "source",
                "malformed",
                format!(
                    "a row of the outbox table {} has no id or no type: both must be filled",
                    table.subject
                ),
            );
            letter.place = Some(table.subject.clone());
            self.outgoing.rejected.push(letter);
            return;
        };
        event.id = legal_string(id).into();
        event.correlationid = event.id.clone();
        event.event_type = legal_string(event_type).into();
        event.partitionkey = columns
            .key
            .and_then(text)
            .map(|key| legal_string(key).into());
        if let Some(topic) = columns.topic.and_then(text) {
            event
                .extensions
                .set("topic", ExtensionValue::String(legal_string(topic).into()));
        }
        let payload = text(columns.payload);
        let out = &mut self.outgoing.data;
        let kind = match (payload, &table.columns[columns.payload].kind) {
            (None, _) => Payload::None,
            (Some(text), Kind::Json) => {
                out.extend_from_slice(text.as_bytes());
                Payload::Json
            }
            (Some(text), Kind::Bytea) => {
                out.extend_from_slice(&unhex(text));
                event.datacontenttype = Str::new_static("application/octet-stream");
                Payload::Opaque
            }
            (Some(text), _) => {
                out.extend_from_slice(text.as_bytes());
                event.datacontenttype = Str::new_static("text/plain; charset=utf-8");
                Payload::Opaque
            }
        };
        self.outgoing.push(event, start, kind);
    }

    /// A table's shape changed: `data` says from what to what. Belongs before the next message.
    pub(crate) fn schema_event(&mut self, table: &Table, data: &[u8]) {
        let skipped = self
            .transaction
            .as_ref()
            .is_none_or(|t| t.ordinal < t.skip || t.foreign);
        if skipped {
            return;
        }
        let start = self.outgoing.start();
        self.outgoing.data.extend_from_slice(data);
        let next = self.transaction.as_ref().map_or(0, |t| t.ordinal + 1);
        let mut event = self.envelope(&format!(".{next}.schema.{}", table.relation.id));
        event.event_type = Str::new_static("postgres.schema.changed.v1");
        event.subject = Some(table.subject.clone());
        self.outgoing.push(event, start, Payload::Json);
    }

    /// A row that was read by a snapshot.
    pub(crate) fn snapshot_row(&mut self, table: &Table, row: Tuple<'_>, from: &SnapshotRow<'_>) {
        if table.outbox.is_some() {
            return;
        }
        let rendering = self.settings.rendering;
        let key = table.key_text(row, None, rendering);
        let start = self.outgoing.start();
        let extent = if self.settings.events == Fullness::Thin {
            Extent::Key
        } else {
            Extent::All
        };
        let out = &mut self.outgoing.data;
        out.extend_from_slice(b"{\"op\":\"r\",\"before\":null,\"after\":");
        let mut unchanged = Vec::new();
        let written = row::object(table, row, None, extent, rendering, &mut unchanged, out);
        out.push(b',');
        out.extend_from_slice(&self.source_head);
        out.extend_from_slice(&table.source_part);
        let micros = from.time.as_microsecond();
        let millis = micros.div_euclid(1000);
        let tail = format!(
            "\"snapshot\":true,\"txId\":null,\"lsn\":{},\"ts_ms\":{millis}}},\"ts_ms\":{millis}}}",
            from.low.0
        );
        out.extend_from_slice(tail.as_bytes());
        let hash = match &key {
            Some(key) => blake3::hash(key.as_bytes()).to_hex()[..16].to_owned(),
            None => format!("row{}", from.number),
        };
        let id = format!(
            "snap/{}/{}/{hash}/{:016X}",
            from.snapshot, table.subject, from.low.0
        );
        let sequence = format!("{:016X}-{:010}", from.at.0, from.number);
        let mut event = self.named(legal_string(&id).into(), sequence.into(), micros);
        event.subject = Some(table.subject.clone());
        event.partitionkey = key;
        event.op = Some(Op::Read);
        match written {
            Ok(()) => self.outgoing.push(event, start, Payload::Json),
            Err(NotText(column)) => {
                self.outgoing.data.truncate(start);
                let name = &table.relation.columns[column].name;
                let mut letter = DeadLetter::new(
                    event,
                    "source",
                    "malformed",
                    format!("column `{name}` of {} is not UTF-8", table.subject),
                );
                letter.place = Some(table.subject.clone());
                self.outgoing.rejected.push(letter);
            }
        }
    }

    fn transaction_event(&mut self, transaction: &Transaction, ended: bool) {
        let start = self.outgoing.start();
        let mut total = transaction.counts.clone();
        if transaction.current.1 > 0 {
            total.insert(transaction.current.0, transaction.current.1);
        }
        let mut counts: Vec<(Str, u64)> = Vec::new();
        if ended {
            for (relation, count) in total {
                if let Some(table) = self.tables.get(relation)
                    && table.captured
                {
                    counts.push((table.subject.clone(), count));
                }
            }
            counts.sort();
        }
        let out = &mut self.outgoing.data;
        out.extend_from_slice(if ended {
            b"{\"status\":\"END\",\"id\":"
        } else {
            b"{\"status\":\"BEGIN\",\"id\":"
        });
        // `"id":"xid:commit"` stands in the tail already.
        let tail = &transaction.tail;
        let text = std::str::from_utf8(tail).unwrap_or_default();
        let id = text
            .split("\"transaction\":{\"id\":")
            .nth(1)
            .and_then(|rest| rest.split(",\"total_order\"").next())
            .unwrap_or("null");
        out.extend_from_slice(id.as_bytes());
        let millis = transaction.time.div_euclid(1000);
        if ended {
            let _infallible = write!(
                out,
                ",\"event_count\":{},\"data_collections\":[",
                transaction.ordinal
            );
            for (i, (subject, count)) in counts.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                out.extend_from_slice(b"{\"data_collection\":");
                write_json_string(subject, out);
                let _infallible = write!(out, ",\"event_count\":{count}}}");
            }
            out.push(b']');
        }
        let _infallible = write!(out, ",\"ts_ms\":{millis}}}");
        let word = if ended { "end" } else { "begin" };
        let prefix = std::str::from_utf8(&transaction.id).unwrap_or_default();
        let sequence = if ended {
            format!("{:016X}-~", transaction.commit.0)
        } else {
            format!("{:016X}-", transaction.commit.0)
        };
        let mut event = self.named(
            format!("{prefix}{word}").into(),
            sequence.into(),
            transaction.time,
        );
        event.event_type = if ended {
            Str::new_static("postgres.transaction.ended.v1")
        } else {
            Str::new_static("postgres.transaction.begun.v1")
        };
        self.outgoing.push(event, start, Payload::Json);
    }

    /// An envelope of the message under way.
    #[inline]
    fn envelope(&self, suffix: &str) -> Envelope {
        let Some(transaction) = &self.transaction else {
            return self.named(Str::default(), Str::default(), 0);
        };
        let mut id = [0_u8; 96];
        let mut length = transaction.id.len().min(40);
        id[..length].copy_from_slice(&transaction.id[..length]);
        let mut digits = itoa::Buffer::new();
        let ordinal = digits.format(transaction.ordinal).as_bytes();
        for part in [ordinal, suffix.as_bytes()] {
            let fits = part.len().min(id.len() - length);
            id[length..length + fits].copy_from_slice(&part[..fits]);
            length += fits;
        }
        // `{16 hex}-{ordinal with ten digits}`
        let mut sequence = [b'0'; 48];
        let hex = &transaction.id[transaction.id.len() - 17..];
        sequence[..17].copy_from_slice(hex);
        let at = 17 + 10_usize.saturating_sub(ordinal.len());
        sequence[at..at + ordinal.len()].copy_from_slice(ordinal);
        let mut end = at + ordinal.len();
        let fits = suffix.len().min(sequence.len() - end);
        sequence[end..end + fits].copy_from_slice(&suffix.as_bytes()[..fits]);
        end += fits;
        let text = |bytes| Str::new(std::str::from_utf8(bytes).unwrap_or_default());
        self.named(
            text(&id[..length]),
            text(&sequence[..end]),
            transaction.time,
        )
    }

    #[inline]
    fn named(&self, id: Str, sequence: Str, micros: i64) -> Envelope {
        let time = Timestamp::from_microsecond(micros).unwrap_or(self.recorded);
        let mut event = Envelope::new(
            id,
            self.settings.urn.clone(),
            self.settings.event_type.clone(),
            time,
            headgate_sdk::Data::none(),
        );
        event.recordedtime = self.recorded;
        event.tenantid = self.settings.tenant.clone();
        event.sequence = Some(sequence);
        event
    }
}

/// Where a snapshot row comes from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SnapshotRow<'a> {
    /// The snapshot's name.
    pub(crate) snapshot: &'a str,
    /// Its low watermark, or the consistent point of a table without a key.
    pub(crate) low: Lsn,
    /// The place in the stream at which it is sent.
    pub(crate) at: Lsn,
    /// Its number among the rows sent there.
    pub(crate) number: u64,
    pub(crate) time: Timestamp,
}

impl Transaction {
    #[inline]
    fn count(&mut self, relation: u32) {
        if self.current.0 != relation {
            let (last, count) = self.current;
            if count > 0 {
                self.counts.insert(last, count);
            }
            self.current = (relation, self.counts.get(&relation).copied().unwrap_or(0));
        }
        self.current.1 += 1;
    }

    /// Ends the data: transaction, orders, and the closing braces.
    #[inline]
    fn write_tail(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.tail);
        let mut digits = itoa::Buffer::new();
        out.extend_from_slice(digits.format(self.ordinal).as_bytes());
        out.extend_from_slice(b",\"data_collection_order\":");
        out.extend_from_slice(digits.format(self.current.1).as_bytes());
        out.extend_from_slice(b"}}");
    }
}

/// The last transactions that the stream passed.
#[derive(Debug, Default)]
struct Passed {
    ring: VecDeque<(u32, Lsn)>,
}

impl Passed {
    const KEPT: usize = 65_536;

    fn push(&mut self, xid: u32, commit: Lsn) {
        if self.ring.len() == Self::KEPT {
            self.ring.pop_front();
        }
        self.ring.push_back((xid, commit));
    }

    fn contains(&self, xid: u32, low: Lsn) -> bool {
        self.ring
            .iter()
            .any(|&(passed, commit)| passed == xid && commit < low)
    }
}

fn mark(content: &[u8], session: &str) -> Option<Mark> {
    let mut parts = std::str::from_utf8(content).ok()?.split(' ');
    if parts.next()? != session {
        return None;
    }
    let (word, window) = (parts.next()?, parts.next()?.parse().ok()?);
    match word {
        "low" => Some(Mark::Low {
            window,
            relation: parts.next()?.parse().ok()?,
        }),
        "high" => Some(Mark::High { window }),
        _ => None,
    }
}

fn unhex(text: &str) -> Vec<u8> {
    let digit = |byte: u8| (byte as char).to_digit(16).unwrap_or(0);
    text.strip_prefix("\\x")
        .unwrap_or_default()
        .as_bytes()
        .chunks_exact(2)
        .map(|pair| u8::try_from(digit(pair[0]) << 4 | digit(pair[1])).unwrap_or(0))
        .collect()
}
