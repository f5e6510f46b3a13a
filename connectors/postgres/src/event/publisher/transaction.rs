//! The transaction under way, and those that were passed.

use std::{
    collections::{HashMap, VecDeque},
    io::Write,
};

use headgate_sdk::{Str, batch::Payload};

use super::publisher::Publisher;
use crate::{lsn::Lsn, types::write_json_string};

/// The transaction under way.
#[derive(Debug)]
pub(super) struct Transaction {
    pub(super) commit: Lsn,
    pub(super) time: i64,
    /// Messages so far.
    pub(super) ordinal: u64,
    /// Messages up to this one are in the checkpoint; `u64::MAX`: all of them, and the commit too.
    pub(super) skip: u64,
    /// Whether the changes came from elsewhere and are not wanted.
    pub(super) foreign: bool,
    /// Whether an event was sent of it, now or before a restart.
    pub(super) begun: bool,
    /// `{timeline}/{commit}-`
    pub(super) id: Vec<u8>,
    /// `"txId":…` up to and including `"total_order":`
    pub(super) tail: Vec<u8>,
    /// Messages by table, of the table that was last first.
    pub(super) current: (u32, u64),
    pub(super) counts: HashMap<u32, u64>,
}

impl Transaction {
    #[inline]
    pub(super) fn count(&mut self, relation: u32) {
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
    pub(super) fn write_tail(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.tail);
        let mut digits = itoa::Buffer::new();
        out.extend_from_slice(digits.format(self.ordinal).as_bytes());
        out.extend_from_slice(b",\"data_collection_order\":");
        out.extend_from_slice(digits.format(self.current.1).as_bytes());
        out.extend_from_slice(b"}}");
    }
}

impl Publisher {
    pub(super) fn transaction_event(&mut self, transaction: &Transaction, ended: bool) {
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
}

/// The last transactions that the stream passed.
#[derive(Debug, Default)]
pub(super) struct Passed {
    ring: VecDeque<(u32, Lsn)>,
}

impl Passed {
    const KEPT: usize = 65_536;

    pub(super) fn push(&mut self, xid: u32, commit: Lsn) {
        if self.ring.len() == Self::KEPT {
            self.ring.pop_front();
        }
        self.ring.push_back((xid, commit));
    }

    pub(super) fn contains(&self, xid: u32, low: Lsn) -> bool {
        self.ring
            .iter()
            .any(|&(passed, commit)| passed == xid && commit < low)
    }
}
