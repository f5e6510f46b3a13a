//! Rows that changed.

use headgate_sdk::{Data, DeadLetter, Op, Str, batch::Payload};

use super::{
    super::{
        row::{self, Extent, NotText},
        table::Table,
    },
    publisher::Publisher,
    settings::PublishError,
};
use crate::{
    config::Fullness,
    pgoutput::{ColumnValue, OldKind, Tuple},
};

impl Publisher {
    pub(super) fn insert(&mut self, table: &Table, new: Tuple<'_>) {
        if table.outbox.is_some() {
            self.outbox(table, new);
            return;
        }
        let key = table.key_text(new, None, self.settings.rendering);
        self.note(table, key.as_ref(), false);
        self.row_event(table, Op::Create, None, Some((new, None)), key, "");
    }

    pub(super) fn update(
        &mut self,
        table: &Table,
        old: Option<(OldKind, Tuple<'_>)>,
        new: Tuple<'_>,
    ) {
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

    pub(super) fn delete(&mut self, table: &Table, old: (OldKind, Tuple<'_>)) {
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
    pub(super) fn note(&mut self, table: &Table, key: Option<&Str>, incomplete: bool) {
        for window in &mut self.windows {
            if window.relation == table.relation.id {
                window.note(key, incomplete);
            }
        }
    }

    /// Writes one row event. `after` comes with the old row that its unchanged values may be taken from.
    pub(super) fn row_event(
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
        event.dataschema = table.dataschema.get().cloned();
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
                event.data = Data::opaque(raw.unwrap_or_default());
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
    pub(super) fn row_data(
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

    pub(super) fn tombstone(&mut self, table: &Table, key: Option<Str>, suffix: &str) {
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

    pub(super) fn truncate(
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
}
