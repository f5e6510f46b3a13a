//! A segmented, append-only, group-committed log: what the journal, the embedded log and the dead letters are made of.
//!
//! Appenders encode their records into one pending group; a committer thread takes the whole group, writes it as one frame
//! with one write and one `fdatasync`, and wakes everyone who waited for it. While it syncs, the next group gathers, so that
//! groups grow with the load; where many append at once, it waits up to a millisecond for as many as came together before.
//!
//! The module owns a directory of segments. Their names and headers say where each begins, so that opening scans the last
//! segment only, however much is kept.
//!
//! Invariants:
//! - a ticket resolves, and a reader sees a record, only after `fdatasync` returned for its frame;
//! - the records of one append share a frame: after a power cut all of them are there, or none;
//! - at most one frame is unsynced at any time; so a bad frame at the end is torn (and dropped), while a bad frame before a
//!   valid one is corruption (copied aside, reported, and skipped);
//! - every use of a segment has a random tag that each of its frames repeats: neither what a recycled segment held before
//!   nor a payload that imitates a frame is ever taken for one;
//! - after a failed write or sync nothing is retried: the log fails closed, and only reading goes on;
//! - a sequence is never given to two durable records.

mod catalog;
mod committer;
mod error;
mod files;
mod frame;
mod group;
mod header;
mod log;
mod options;
mod quarantine;
mod reader;
mod recovery;
mod replace;
mod retention;
mod scan;
mod tail;

#[cfg(test)]
pub(crate) mod sim;
#[cfg(test)]
mod tests;

pub use error::SegmentError;
pub use files::{FileLayer, LogFile, RealFiles};
pub use frame::{Encode, Frame, Record};
pub use group::Ticket;
pub use log::{LogStats, SegmentInfo, SegmentLog};
pub use options::{Observer, Options};
pub use quarantine::Corruption;
pub use reader::Reader;
pub use recovery::RecoveryReport;
pub use replace::{read_file, replace_file};
pub use retention::releasable;

/// The place of a record in its log. The first record of a log has sequence 1; gaps are possible, reuse is not.
pub type Sequence = u64;
