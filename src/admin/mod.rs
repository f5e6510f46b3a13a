//! The admin listener: health, figures and control.
//!
//! [`Gateway`] is what an operator may ask of a gateway. Three things answer it: the running gateway itself, the [`Client`] of
//! another process's admin API, and the gateway's `data_dir` when none runs. The listener here serves the first of them over
//! HTTP; the commands of [`crate::cli`] speak to whichever is there and cannot tell them apart.
//!
//! Invariants: nothing here holds state of the gateway; `/readyz` answers 503 only for what keeps the whole gateway from
//! accepting, never for a single source or sink; a request that a web page made (it has an `Origin`) is refused.

mod api;
mod client;
mod dead_letters;
mod gateway;
mod offline;
mod openapi;
mod problem;
mod replay;
mod routes;
mod running;
mod server;
mod stored;
mod trace;

#[cfg(test)]
mod tests;

pub use api::{
    Checkpoint, CheckpointQuery, Component, DeadLetter, DeadLetterQuery, DeadLettersDone, Entries,
    EntriesQuery, Entry, Journal, LogQuery, NewPosition, Problem, ProblemItem, Reloaded,
    ReplayDone, ReplayFrom, ReplayQuery, Snapshot, Status, Trace, TraceDelivered, TraceQuery,
    TraceReceived, TraceRun,
};
pub use client::Client;
pub(crate) use gateway::instant;
pub use gateway::{Answer, Gateway, GatewayError, LetterAction, LogLines, SourceAction};
pub use offline::Offline;
pub use openapi::openapi;
pub use running::Running;
pub use server::serve;
