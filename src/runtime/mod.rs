//! The runtime: lanes, ack tracking, checkpoints, supervision, shutdown.

mod checkpoints;

pub use checkpoints::{CheckpointError, Checkpoints, Commit, StoredCheckpoint};
