//! What changed while a chunk was read.

use std::collections::HashSet;

use headgate_sdk::Str;

use crate::lsn::Lsn;

/// From a chunk's low watermark to its high one: which rows of its table the stream touched.
///
/// Invariant: a row of the chunk whose key is here is older than or as old as what was streamed, and is not sent; one that is
/// not here is the newest there is.
#[derive(Debug)]
pub(crate) struct Window {
    pub(crate) id: u64,
    pub(crate) relation: u32,
    /// Where the low watermark committed.
    pub(crate) low: Lsn,
    /// The version of the table's shape there.
    pub(crate) version: Option<u32>,
    /// Keys of rows that changed.
    pub(crate) changed: HashSet<Str>,
    /// Those of them whose last change left out a TOASTed value: dropping their chunk row would lose it, so they are read again.
    pub(crate) incomplete: HashSet<Str>,
    /// Everything the chunk read may be from before this.
    pub(crate) truncated: bool,
}

impl Window {
    pub(crate) fn new(id: u64, relation: u32, low: Lsn, version: Option<u32>) -> Self {
        Self {
            id,
            relation,
            low,
            version,
            changed: HashSet::new(),
            incomplete: HashSet::new(),
            truncated: false,
        }
    }

    pub(super) fn note(&mut self, key: Option<&Str>, incomplete: bool) {
        if let Some(key) = key {
            self.changed.insert(key.clone());
            if incomplete {
                self.incomplete.insert(key.clone());
            }
        }
    }
}
