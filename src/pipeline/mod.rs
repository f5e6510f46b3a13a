//! The pipeline: a tower stack over batches, and the stack in front of each sink.
//!
//! [`stack`] is the place to read first: it lists all layers in order. Each layer is a folder of its own with `config`
//! (its keys in the configuration), `layer` and `service`; a layer that looks at one event after another is a `step`
//! ([`step`] makes the layer and the service).
//!
//! Invariants: a batch is never split among lanes and never reordered; a step either passes an event on, drops it (counted),
//! or moves it to the batch's rejected records, so that nothing disappears; state of layers lives in [`LayerStates`], outside
//! the stack, so that a stack can be swapped between two batches.

mod batch;
pub mod breaker;
mod config;
pub mod dead_letter;
pub mod dedup;
pub mod deliver;
pub mod filter;
pub mod json;
pub mod keep_fields;
pub mod max_age;
pub mod max_hops;
pub mod rate_limit;
pub mod redact;
pub mod remove;
pub mod rename;
pub mod retry;
pub mod route;
pub mod script;
pub mod set;
pub mod share;
pub mod stack;
mod state;
pub mod step;
#[cfg(test)]
pub(crate) mod tests;
pub mod timeout;
pub mod transform;
pub mod validate;

pub use batch::{LaneContext, PipelineBatch, PipelineError};
pub use config::{Pipeline, Step};
pub use state::{LayerStates, Mourner};

use tower::util::BoxService;

use crate::sink::Accepted;

/// A lane's pipeline, ready to be called with one batch after the other.
pub type PipelineService = BoxService<PipelineBatch, Accepted, PipelineError>;
