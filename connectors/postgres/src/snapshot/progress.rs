//! How far a table was read.

use headgate_sdk::Entry;
use serde::{Deserialize, Serialize};

/// Where tables that are being read lie among the lane's entries.
pub(crate) const PREFIX: &str = "snapshot/";

/// Where tables that need no reading (any more) lie.
pub(crate) const KNOWN_PREFIX: &str = "table/";

/// A table that is being read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Progress {
    /// The snapshot's name; part of the ids of its rows.
    pub(crate) snapshot: String,
    /// `schema.table`.
    pub(crate) table: String,
    pub(crate) oid: u32,
    /// Only rows for which this SQL expression holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) filter: Option<String>,
    /// The key after which to go on; `None` at the beginning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) after: Option<Vec<String>>,
    /// Whether the last chunk was read.
    #[serde(default)]
    pub(crate) finished: bool,
    /// Keys of rows that must be read again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) again: Vec<Vec<String>>,
    /// Rows sent.
    #[serde(default)]
    pub(crate) rows: u64,
}

impl Progress {
    pub(crate) fn new(
        snapshot: impl Into<String>,
        table: impl Into<String>,
        oid: u32,
        filter: Option<String>,
    ) -> Self {
        Self {
            snapshot: snapshot.into(),
            table: table.into(),
            oid,
            filter,
            after: None,
            finished: false,
            again: Vec::new(),
            rows: 0,
        }
    }

    /// Its key among the entries.
    pub(crate) fn key(&self) -> String {
        format!("{PREFIX}{}/{}", self.snapshot, self.table)
    }

    /// Whether there is nothing left to read.
    pub(crate) fn is_done(&self) -> bool {
        self.finished && self.again.is_empty()
    }

    /// What is stored of it: progress, or that the table is known now.
    pub(crate) fn entries(&self) -> Vec<Entry> {
        if self.is_done() {
            vec![Entry::remove(self.key()), known_entry(&self.table)]
        } else {
            let value = serde_json::to_vec(self).unwrap_or_default();
            vec![Entry::put(self.key(), value)]
        }
    }
}

/// The entry of a table that needs no reading.
pub(crate) fn known_entry(table: &str) -> Entry {
    Entry::put(format!("{KNOWN_PREFIX}{table}"), &b"{}"[..])
}
