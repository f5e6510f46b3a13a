//! Follows the stream.

use std::{collections::HashMap, sync::Arc};

use headgate_sdk::{Data, Envelope, Str, Timestamp, batch::Outgoing};

use super::{
    super::{
        table::{Table, Tables},
        window::Window,
    },
    settings::{Identity, Mark, PublishError, Settings},
    transaction::{Passed, Transaction},
};
use crate::{
    lsn::Lsn,
    pgoutput::{Message, Tuple},
    position::StreamPosition,
    types::write_json_string,
};

/// A batch is sent when it has this many events or bytes of data.
const BATCH_EVENTS: usize = 1_000;
const BATCH_BYTES: usize = 256 << 10;

/// See the [module](super::super).
pub(crate) struct Publisher {
    pub(super) settings: Settings,
    pub(super) identity: Identity,
    pub(super) tables: Tables,
    pub(crate) outgoing: Outgoing,
    pub(super) transaction: Option<Transaction>,
    /// What is done, when no transaction is under way.
    pub(super) settled: (Lsn, u64),
    pub(super) confirm: Lsn,
    pub(crate) windows: Vec<Window>,
    /// Tables that are being read, and the keys of their rows that must be read again: a row that moved from the part that was not
    /// read into the part that was, without its TOASTed values.
    pub(crate) moved: HashMap<u32, Vec<Vec<String>>>,
    /// `"source":{…,"db":…,`
    pub(super) source_head: Vec<u8>,
    /// When the batch being filled was begun.
    pub(super) recorded: Timestamp,
    pub(super) unchanged: Vec<usize>,
    /// Transactions that were passed lately, for chunks whose snapshot may be older than the stream.
    pub(super) passed: Passed,
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
            outgoing: Outgoing::new(BATCH_EVENTS, BATCH_BYTES),
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

    /// The table has this version, from which the events' `dataschema` follows.
    pub(crate) fn set_version(&self, table: &Table, version: u32) {
        table.set_version(&self.settings.urn, version);
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
    pub(super) fn count(&mut self, relation: u32) -> Result<Option<Arc<Table>>, PublishError> {
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

    pub(super) fn ensure_begun(&mut self) {
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

    /// An envelope of the message under way.
    #[inline]
    pub(super) fn envelope(&self, suffix: &str) -> Envelope {
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
    pub(super) fn named(&self, id: Str, sequence: Str, micros: i64) -> Envelope {
        let time = Timestamp::from_microsecond(micros).unwrap_or(self.recorded);
        let mut event = Envelope::new(
            id,
            self.settings.urn.clone(),
            self.settings.event_type.clone(),
            time,
            Data::none(),
        );
        event.recordedtime = self.recorded;
        event.tenantid = self.settings.tenant.clone();
        event.sequence = Some(sequence);
        event
    }
}
