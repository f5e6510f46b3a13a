//! A connector's own subcommands (`headgate postgres check`).

use bytes::Bytes;
use futures::future::BoxFuture;
use serde_json::Value;

use crate::{LaneId, SourceInfo, Str, control::ControlError};

/// How a command ended; the exit code of the process.
#[derive(Debug)]
pub enum CommandOutcome {
    /// 0: fine.
    Fine,
    /// 1: what was checked is wrong; the command has said so on standard output.
    Wrong,
    /// 2: the command line is wrong; says how to write it.
    Usage(String),
    /// 3: it could not be done (server away, I/O); says what to do.
    Failed(String),
}

impl CommandOutcome {
    /// The exit code.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Fine => 0,
            Self::Wrong => 1,
            Self::Usage(_) => 2,
            Self::Failed(_) => 3,
        }
    }
}

/// A source of the configuration, as a command sees it.
#[derive(Debug, Clone)]
pub struct ConfiguredSource {
    /// Who it is.
    pub info: SourceInfo,
    /// Its table, with secrets resolved, ready for the connector's `Config`.
    pub config: Value,
    /// The gateway's public listener as seen from this machine, such as `http://127.0.0.1:8080`.
    pub http_url: String,
}

/// What a connector's command may use.
pub struct CommandContext<'a> {
    /// Loads the configuration (`-c FILE`) when asked, so that commands which need none run without one. Returns the sources of
    /// this connector; the error lists all problems, printed already.
    pub sources: &'a (dyn Fn() -> Result<Vec<ConfiguredSource>, CommandOutcome> + Sync),
    /// The running gateway, or its `data_dir` when none runs.
    pub gateway: &'a dyn GatewayAccess,
}

/// A command's way to the state of the gateway: the admin API of a running one, else `data_dir` under its lock.
pub trait GatewayAccess: Sync {
    /// Sends a command to a running source.
    ///
    /// # Errors
    /// [`AccessError`].
    fn control<'a>(
        &'a self,
        source: &'a str,
        action: &'a str,
        arguments: Value,
    ) -> BoxFuture<'a, Result<Value, AccessError>>;

    /// The lanes of a source that have a checkpoint.
    ///
    /// # Errors
    /// [`AccessError`].
    fn lanes<'a>(&'a self, source: &'a str) -> BoxFuture<'a, Result<Vec<LaneId>, AccessError>>;

    /// Entries of a lane's checkpoint, as [`Lane::entries`](crate::Lane::entries).
    ///
    /// # Errors
    /// [`AccessError`].
    fn entries<'a>(
        &'a self,
        lane: &'a LaneId,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<(Str, Bytes)>, AccessError>>;
}

/// Why the gateway's state is out of reach.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// The command needs a running gateway.
    #[error(
        "no gateway answers: start it with `headgate run`, or pass the configuration it runs with (-c FILE)"
    )]
    NotRunning,
    /// The source refused.
    #[error(transparent)]
    Refused(#[from] ControlError),
    /// Reading failed; says what and what to do.
    #[error("{0}")]
    Io(String),
}
