//! Headgate: the one door through which events enter a company.
//!
//! See `ARCHITECTURE.md` for the picture, the code map and the invariants.

pub mod admin;
pub mod claim_check;
pub mod cli;
pub mod config;
pub mod connectors;
pub mod dead_letters;
mod failpoint;
pub mod http;
pub mod journal;
pub mod pipeline;
pub mod replay;
pub mod runtime;
pub mod segment;
pub mod sink;
pub mod trace;
pub mod trial;

/// Threads allocate what other threads free, in every request and every batch: the system's allocator makes a sixth of a webhook's cost of that.
///
/// It serves C libraries too (`override`). librdkafka allocates some fifteen times an event on one thread and frees on another; with the system's
/// allocator that was a third of a change's CPU time on its way into Kafka, half of a transaction's, and a quarter of the memory at its peak.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
