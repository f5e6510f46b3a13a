//! The runtime: lanes, ack tracking, checkpoints, supervision, start and shutdown.

mod checkpoints;
mod data_dir;
pub(crate) mod descriptors;
mod gateway;
mod lane;
mod source;

pub use checkpoints::{CheckpointError, Checkpoints, Commit, StoredCheckpoint};
pub use data_dir::{DataDir, DataDirError, Identity};
pub use gateway::{
    Gateway, GatewayReport, ReloadError, Reloaded, ReplayFailure, ReplayWay, Replayed, Retried,
    RetryError, SinkReport, StartError,
};
pub(crate) use lane::AckTracker;
pub use lane::LaneInfo;
pub use source::{SourceHandle, SourceReport};
