//! Sinks: where events land.
//!
//! A sink hands out one [`LaneSink`] per lane, a tower service that *accepts* batches in order and answers at once; the
//! [`Outcome`] follows. Retries, breaker, timeout and dead letters are layers around it (see [`crate::pipeline`]), so that a
//! sink only writes and reports.
//!
//! Invariants: the batches of a lane are written in the order of the calls; an outcome is [`Outcome::Durable`] only when a
//! crash of this machine cannot take the batch away any more; a checkpoint that rides on a batch is stored with it, atomically.

mod accepted;
mod batch;
pub mod buffer;
mod check;
pub mod command;
pub mod config;
pub mod kafka;
mod landed;
pub mod log;
mod open;
mod sent;
pub mod stdout;

pub use accepted::{Accepted, Outcome, Rejection, SinkError};
pub use batch::{Checkpoint, Record, SinkBatch};
pub use check::check;
pub use config::{Common, Kind};
pub use landed::{Extent, Landed, Notes};
pub use open::open;
pub use sent::Sent;

use std::sync::Arc;

use futures::future::BoxFuture;
use headgate_sdk::{LaneId, Str, status::Status};
use tower::util::BoxService;

use crate::runtime::Checkpoints;

/// A lane's way into a sink. Calls are made one after the other; the outcomes may be awaited together.
pub type LaneSink = BoxService<Arc<SinkBatch>, Accepted, SinkError>;

/// A place where events land, shared by all lanes that are routed to it.
pub trait Sink: Send + Sync + 'static {
    /// Its name in the configuration.
    fn name(&self) -> &Str;

    /// What it keeps besides events.
    fn keeps(&self) -> Keeps;

    /// The weight of the largest event that it can ever write. Larger ones are dead letters before it sees their batch, so that
    /// the checkpoint that it keeps never gets ahead of them.
    fn max_event_bytes(&self) -> usize {
        usize::MAX
    }

    /// Brings the checkpoint index up to what this sink has stored, before any lane opens. A sink that keeps no checkpoints
    /// does nothing.
    fn recover<'a>(&'a self, checkpoints: &'a Checkpoints) -> BoxFuture<'a, Result<(), SinkError>>;

    /// Resolves when the lane's own checkpoint here is in the checkpoint index and nobody else can move it any more. Awaited before
    /// a lane reads where it resumes, if this sink keeps its checkpoint. Cancel safe.
    ///
    /// # Errors
    /// The lane must not be opened until a person acts.
    fn prepare<'a>(&'a self, lane: &'a LaneId, shard: u32) -> BoxFuture<'a, Result<(), SinkError>> {
        let (_, _) = (lane, shard);
        Box::pin(std::future::ready(Ok(())))
    }

    /// Resolves, with the reason, when another process has the lane's place here, until a person acts: its source takes nothing more in, and lets
    /// go of what the other needs (a replication slot). Never, for most sinks. Cancel safe.
    fn lost<'a>(&'a self, lane: &'a LaneId, shard: u32) -> BoxFuture<'a, Str> {
        let (_, _) = (lane, shard);
        Box::pin(std::future::pending())
    }

    /// Opens a lane on `shard`. Opening does no I/O; an unreachable sink shows in outcomes.
    fn open_lane(&self, lane: &LaneId, shard: u32) -> LaneSink;

    /// Its state for `/readyz` and `headgate status`.
    fn status(&self) -> &Status;

    /// The log that it writes, if that can be read here.
    fn log(&self) -> Option<&Arc<log::EmbeddedLog>> {
        None
    }

    /// Reads the topics that it writes, if those can be read here.
    fn topics(&self) -> Option<&kafka::TopicReader> {
        None
    }

    /// The topic that is to be told of dead letters, if it has one.
    fn dead_letters(&self) -> Option<&Arc<kafka::LetterTopic>> {
        None
    }

    /// Writes out what was accepted and lets go of everything. Called once, after all lanes are dropped.
    fn close(&self) -> BoxFuture<'_, ()>;
}

/// What a sink keeps besides events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Keeps {
    /// It stores the checkpoint that rides on a batch atomically with the batch, and [recovers](Sink::recover) it.
    pub checkpoints: bool,
    /// It stores dead letters where it stores events. Otherwise the store in `data_dir` keeps them.
    pub dead_letters: bool,
}
