//! The runtime: lanes, ack tracking, checkpoints, supervision, shutdown.

mod checkpoints;
mod data_dir;

pub use checkpoints::{CheckpointError, Checkpoints, Commit, StoredCheckpoint};
pub use data_dir::{DataDir, DataDirError, Identity};
