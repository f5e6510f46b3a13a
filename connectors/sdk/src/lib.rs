//! What a Headgate connector sees, and nothing else.
//!
//! A connector turns a system of somebody else's into [`Envelope`]s on [`Lane`]s. It depends on this crate alone: it knows
//! neither the pipeline, nor the sinks, nor its siblings.
//!
//! | to | see |
//! |---|---|
//! | make a connector | [`Connector`], [`Source`], [`SourceContext`] |
//! | send events and learn when they are durable | [`Lane`], [`Batch`], [`batch::Outgoing`], [`Position`], [`lane::Progress`] |
//! | take HTTP requests | [`http`], [`admission`] |
//! | keep large payloads | [`blobs`] |
//! | answer the operator | [`control`], [`status`], [`command`] |
//! | write durations, sizes, rates and secrets in a configuration | [`config`] |
//! | choose by name with `*` | [`pattern`] |
//! | test a connector | `conformance` (feature `conformance`) |

pub mod admission;
pub mod batch;
pub mod blobs;
pub mod command;
pub mod config;
#[cfg(feature = "conformance")]
pub mod conformance;
mod connector;
mod context;
pub mod control;
pub mod envelope;
pub mod http;
pub mod lane;
pub mod pattern;
mod position;
pub mod status;

pub use batch::{Batch, DeadLetter, Entry};
pub use connector::{BuildError, Connector, Example, ExampleContext, Problem, Source, SourceError};
pub use context::{SourceContext, SourceInfo};
pub use envelope::{Data, Envelope, ExtensionValue, Op, Str, Timestamp};
pub use lane::{Delivery, DeliveryError, Lane, LaneError, LaneId, LaneSpec, Lanes, Permit, Replay};
pub use position::{Position, PositionError};
