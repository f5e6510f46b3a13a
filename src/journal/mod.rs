//! The journal: what was accepted and cannot be asked again.
//!
//! One physical log and one committer serve all push sources. Each record names its lane; each lane reads with a cursor of its
//! own. The module owns a directory: the segments, and `lanes.json`, an index that says which lanes have records, so that
//! nothing but the last segment is read at start.
//!
//! Invariants:
//! - an append resolves only after `fdatasync`; the records of one append are kept together or not at all;
//! - the order of appends of a lane is the order of its sequences, and a lane's cursor is such a sequence;
//! - a segment is recycled when every lane has released its records in it: a lane that stands still holds segments, never
//!   other lanes, also after a restart, and also when its source no longer exists;
//! - nothing that is not released is ever deleted; a full journal refuses instead.

mod error;
mod index;
mod lanes;
mod reader;
mod record;
mod store;

#[cfg(test)]
mod tests;

pub use error::JournalError;
pub use reader::{JournalScan, LaneReader};
pub use record::{Entry, Record};
pub use store::{Config, Journal, JournalStats, LaneInfo};
