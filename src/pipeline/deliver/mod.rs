//! Deliver: the end of a pipeline. Hands each sink its part of a batch and joins the outcomes.
//!
//! A batch is durable when every *required* sink that it was routed to has it. Dead letters are durable before the sink that
//! keeps the checkpoint sees the batch, unless that sink keeps them itself. Nobody waits for a sink that is not required, as long as it, or
//! the dead letters of what it misses, have room.

mod service;

pub use service::{Deliver, LaneOutlet, UNSETTLED_BATCHES};
