//! How far a table was read.

use headgate_sdk::Entry;
use serde::{Deserialize, Serialize};

/// Where tables that are being read lie among the lane's entries.
pub(crate) const PREFIX: &str = "snapshot/";

/// Where tables that need no reading (any more) lie.
pub(crate) const KNOWN_PREFIX: &str = "table/";

/// A table that is being read, or one part of a large one.
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
    /// Which part of the table; 0 for the first or the whole.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) part: u32,
    /// The last key of the part; `None` for the last part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) until: Option<Vec<String>>,
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
            part: 0,
            until: None,
            after: None,
            finished: false,
            again: Vec::new(),
            rows: 0,
        }
    }

    /// Its key among the entries.
    pub(crate) fn key(&self) -> String {
        match self.part {
            0 => format!("{PREFIX}{}/{}", self.snapshot, self.table),
            part => format!("{PREFIX}{}~{part}/{}", self.snapshot, self.table),
        }
    }

    /// Whether `other` is a part of the same reading.
    pub(crate) fn belongs_to(&self, other: &Self) -> bool {
        self.snapshot == other.snapshot && self.table == other.table
    }

    /// Its parts, if each but the last ends with a key of `bounds`. Nothing of it was read yet.
    pub(crate) fn split(self, bounds: Vec<Vec<String>>) -> Vec<Self> {
        let mut parts = vec![self];
        for bound in bounds {
            let mut next = parts[0].clone();
            next.part = u32::try_from(parts.len()).unwrap_or(u32::MAX);
            next.after = Some(bound.clone());
            next.again = Vec::new();
            if let Some(last) = parts.last_mut() {
                last.until = Some(bound);
            }
            next.until = None;
            parts.push(next);
        }
        parts
    }

    /// Whether there is nothing left to read.
    pub(crate) fn is_done(&self) -> bool {
        self.finished && self.again.is_empty()
    }

    /// What is stored of it.
    pub(crate) fn entry(&self) -> Entry {
        if self.is_done() {
            Entry::remove(self.key())
        } else {
            Entry::put(self.key(), serde_json::to_vec(self).unwrap_or_default())
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_zero(part: &u32) -> bool {
    *part == 0
}

/// The entry of a table that needs no reading.
pub(crate) fn known_entry(table: &str) -> Entry {
    Entry::put(format!("{KNOWN_PREFIX}{table}"), &b"{}"[..])
}

/// It must be read (again) when it comes back.
pub(crate) fn forgotten_entry(table: &str) -> Entry {
    Entry::remove(format!("{KNOWN_PREFIX}{table}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_lie_side_by_side_under_keys_of_their_own() {
        let whole = Progress::new("initial", "public.t", 7, None);
        let parts = whole
            .clone()
            .split(vec![vec!["10".into()], vec!["20".into()]]);
        let ranges: Vec<_> = parts
            .iter()
            .map(|p| format!("{} {:?} {:?}", p.key(), p.after, p.until))
            .collect();
        insta::assert_snapshot!(ranges.join("\n"), @r#"
        snapshot/initial/public.t None Some(["10"])
        snapshot/initial~1/public.t Some(["10"]) Some(["20"])
        snapshot/initial~2/public.t Some(["20"]) None
        "#);
        assert_eq!(whole.split(Vec::new()).len(), 1);
    }
}
