//! One session of streaming: a task that owns the replication connection and everything that follows from it.
//!
//! `session` starts it and waits; `frames` takes what comes; `spooled` publishes what was received before its commit; `batches`
//! sends. `tables` keeps shapes, `chunks` and `exports` put what is read at its place, `controls` answers the operator.

mod batches;
mod chunks;
mod controls;
mod exports;
mod frames;
mod link;
mod session;
mod spooled;
mod tables;

pub(super) use session::Stream;
