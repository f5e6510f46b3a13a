//! From decoded changes to envelopes.
//!
//! [`Publisher`] follows the stream: it knows the transaction under way, counts its messages, skips what the checkpoint has
//! already, and writes each change into [`Outgoing`], the batch being filled. It does no I/O.
//!
//! Invariants: an event's id depends on the log alone (timeline, commit LSN, ordinal), never on the session or the
//! configuration; every message counts, also those that are filtered out; a position is only taken between messages.

mod outbox;
mod publisher;
mod row;
mod table;
#[cfg(test)]
mod tests;
mod window;

pub(crate) use publisher::{
    DDL_PREFIX, Identity, Mark, PublishError, Publisher, Settings, SnapshotRow,
};
pub(crate) use table::{Facts, Table};
pub(crate) use window::Window;
