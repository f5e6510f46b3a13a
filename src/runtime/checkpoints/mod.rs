//! The checkpoint store: per lane a position plus keyed entries, in one `redb` file.
//!
//! One writer thread owns all commits and groups what waits. Where a sink stores checkpoints itself (the embedded log, Kafka
//! transactions), this file is only an index of what that sink holds: such commits may come late, and the sink's *mark* says
//! from where [recovery](crate::sink::Sink::recover) has to read.
//!
//! Invariants: position, entries and mark of a commit are stored together; commits of a lane are stored in the order given;
//! `done` runs after the commit is on disk.

mod moved;
mod store;
mod writer;

pub use store::{CheckpointError, Checkpoints, StoredCheckpoint};
pub use writer::Commit;
