//! Rows that a snapshot read.

use headgate_sdk::{DeadLetter, Op, Timestamp, batch::Payload, envelope::legal_string};

use super::{
    super::{
        row::{self, Extent, NotText},
        table::Table,
    },
    publisher::Publisher,
};
use crate::{config::Fullness, lsn::Lsn, pgoutput::Tuple};

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

impl Publisher {
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
        event.dataschema = table.dataschema.get().cloned();
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
}
