//! The embedded log: what was delivered, after the pipeline, kept for as long as retention says.
//!
//! Each batch becomes one frame of a [segmented log](crate::segment) with its lane's checkpoint in it, so that the log alone,
//! as only required sink, delivers exactly once: at start the checkpoints that the index (`checkpoints.redb`) does not have
//! yet are read from the log's end.
//!
//! The module owns one directory: the segments and `groups.json`, the cursors of named readers.
//!
//! Invariants: events and checkpoint of a batch are there together or not at all; an event's position never changes and is
//! never given twice; retention deletes whole segments, and none whose checkpoints are not in the index, or that a holder
//! has not read.

mod config;
mod error;
mod groups;
mod indexer;
mod lines;
mod reader;
mod record;
mod retention;
mod sink;
mod store;

#[cfg(test)]
mod tests;

pub use config::Config;
pub use error::LogError;
pub use lines::lines;
pub use reader::{LogReader, Start};
pub use record::Logged;
pub use sink::LogSink;
pub use store::{EmbeddedLog, Hold};
