//! What an operator may ask of a gateway.

use futures::future::BoxFuture;
use futures::stream::BoxStream;
use headgate_sdk::Timestamp;
use serde_json::Value;

use super::api::{
    Checkpoint, DeadLetter, DeadLetterQuery, DeadLettersDone, Entries, EntriesQuery, LogQuery,
    NewPosition, Reloaded, ReplayDone, ReplayQuery, Status, Trace, TraceQuery,
};
use crate::config::Finding;

/// A gateway: the running one, another process's over its admin API, or a `data_dir` that nobody uses.
///
/// All of it is cancel safe: what was begun may or may not happen, but never half.
pub trait Gateway: Send + Sync + 'static {
    /// How it is.
    fn status(&self) -> Answer<'_, Status>;

    /// Pauses, resumes or restarts a source.
    fn act<'a>(&'a self, source: &'a str, action: SourceAction) -> Answer<'a, ()>;

    /// Sends a command of its connector's own to a running source.
    fn control<'a>(
        &'a self,
        source: &'a str,
        action: &'a str,
        arguments: Value,
    ) -> Answer<'a, Value>;

    /// The checkpoints of a source's lanes, or of all lanes, ordered by lane.
    fn checkpoints<'a>(&'a self, source: Option<&'a str>) -> Answer<'a, Vec<Checkpoint>>;

    /// Entries of a lane's checkpoint.
    fn entries<'a>(&'a self, query: &'a EntriesQuery) -> Answer<'a, Entries>;

    /// Moves a lane. Refused while its source runs.
    fn set_checkpoint<'a>(&'a self, position: &'a NewPosition) -> Answer<'a, ()>;

    /// Reads the configuration again and swaps what changed; a wrong one changes nothing.
    fn reload(&self) -> Answer<'_, Reloaded>;

    /// Dead letters that wait in `data_dir`, oldest first.
    fn dead_letters<'a>(&'a self, query: &'a DeadLetterQuery) -> Answer<'a, Vec<DeadLetter>>;

    /// Retries or discards dead letters, at most as many as the query's limit.
    fn act_on_dead_letters<'a>(
        &'a self,
        action: LetterAction,
        query: &'a DeadLetterQuery,
    ) -> Answer<'a, DeadLettersDone>;

    /// Replays a part of what `query` means, at most about as many as its limit.
    fn replay<'a>(&'a self, query: &'a ReplayQuery) -> Answer<'a, ReplayDone>;

    /// Says where the event of this id is.
    fn trace<'a>(&'a self, id: &'a str, query: &'a TraceQuery) -> Answer<'a, Trace>;

    /// Reads the embedded log.
    fn log<'a>(&'a self, query: &'a LogQuery) -> Answer<'a, LogLines>;
}

/// What a gateway answers.
pub type Answer<'a, T> = BoxFuture<'a, Result<T, GatewayError>>;

/// Events of the log, each the text of a structured-mode CloudEvent on one line, with its position as `logposition`.
pub type LogLines = BoxStream<'static, Result<String, GatewayError>>;

/// What can be done to any source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceAction {
    /// Stay connected, take nothing in.
    Pause,
    /// Go on.
    Resume,
    /// End the present run and start a new one.
    Restart,
}

impl SourceAction {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Pause, Self::Resume, Self::Restart];

    /// The word for it in paths and commands.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Restart => "restart",
        }
    }
}

/// What can be done to dead letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LetterAction {
    /// Give them to the present pipelines of their sources again.
    Retry,
    /// Give them up.
    Discard,
}

impl LetterAction {
    /// The word for it in paths and commands.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Discard => "discard",
        }
    }

    /// The word for what was done.
    #[must_use]
    pub const fn done(self) -> &'static str {
        match self {
            Self::Retry => "retried",
            Self::Discard => "discarded",
        }
    }
}

/// Why a gateway did not do it.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// It only works with a running gateway, and none answers.
    #[error(
        "no gateway answers on {address}; start it with `headgate run`, or name the configuration that it runs with (`-c FILE`)"
    )]
    NotRunning {
        /// Where it was looked for.
        address: String,
    },
    /// What was named does not exist; says what does.
    #[error("{0}")]
    NotFound(String),
    /// The request cannot be understood; says what to write.
    #[error("{0}")]
    Invalid(String),
    /// It was understood and refused; says what to do first.
    #[error("{0}")]
    Refused(String),
    /// The configuration is wrong.
    #[error("the configuration is wrong; nothing was changed")]
    Configuration(Vec<Finding>),
    /// It was tried and failed; says what to do.
    #[error("{0}")]
    Failed(String),
}

/// An instant of a query.
pub(crate) fn instant(text: &str) -> Result<Timestamp, GatewayError> {
    text.parse().map_err(|_| {
        GatewayError::Invalid(format!(
            "`{text}` is no instant: write one like 2026-01-31T08:00:00Z"
        ))
    })
}
