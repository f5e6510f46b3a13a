//! Why a gateway does not start or reload. Each message is one line with the remedy.

use std::path::PathBuf;

use crate::{
    http::{ListenError, TlsError},
    journal::JournalError,
    runtime::{CheckpointError, DataDirError},
    sink::SinkError,
};

/// Why a gateway does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// `data_dir`.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The checkpoint store.
    #[error(transparent)]
    Checkpoints(#[from] CheckpointError),
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A folder inside `data_dir`.
    #[error("`{folder}` cannot be used: {message}")]
    Store {
        /// Which.
        folder: PathBuf,
        /// What is wrong and what to do.
        message: String,
    },
    /// The store of payloads that events refer to.
    #[error(transparent)]
    ClaimCheck(#[from] crate::claim_check::OpenError),
    /// A sink that cannot even be opened.
    #[error("sink `{sink}`: {source}")]
    Sink {
        /// Its name.
        sink: String,
        /// What is wrong and what to do.
        source: SinkError,
    },
    /// The public listener.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// Its certificates.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The configuration has more sinks than a lane can be routed to.
    #[error("{0} sinks are configured; the most is 64")]
    TooManySinks(usize),
}

/// Why a reload changed nothing.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// A change that only a restart can make.
    #[error("`{key}` has changed, which needs a restart of the gateway: nothing was reloaded")]
    NeedsRestart {
        /// What changed.
        key: String,
    },
    /// The gateway is shutting down.
    #[error("the gateway is shutting down")]
    ShuttingDown,
}
