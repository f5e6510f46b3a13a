//! Retry: go-back-N. Keeps what is not durable and sends it again, in order, for as long as it takes.
//!
//! One worker per lane and sink holds the lane's undurable batches for that sink. After a retriable outcome it waits until
//! everything under way has an outcome, pauses, and sends all of it again from the first undurable batch on: that one alone at
//! first, then twice as many with each that becomes durable, so that a sink that fails again costs one repetition and not a
//! window of them. Nothing is given up here: limits and budget only open the [breaker](super::breaker).

mod layer;
mod service;
mod worker;

pub use layer::RetryLayer;
pub use service::Retry;
pub(in crate::pipeline) use service::UNAVAILABLE;
