//! Retry: go-back-N. Keeps what is not durable and sends it again, in order, for as long as it takes.
//!
//! One worker per lane and sink holds the lane's undurable batches for that sink. After a retriable outcome it waits until
//! everything under way has an outcome, pauses, and sends all of it again from the first undurable batch on. Nothing is
//! given up here: limits only open the [breaker](super::breaker).

mod layer;
mod service;
mod worker;

pub use layer::RetryLayer;
pub use service::Retry;
