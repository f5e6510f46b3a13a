//! What a Headgate connector sees, and nothing else.
//!
//! A connector turns a system of somebody else's into [`Envelope`]s on lanes. It depends on this crate alone: it knows
//! neither the pipeline, nor the sinks, nor its siblings.

pub mod envelope;

pub use envelope::{Data, Envelope, ExtensionValue, Op, Str, Timestamp};
