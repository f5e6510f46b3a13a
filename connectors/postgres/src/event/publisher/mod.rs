//! The publisher: `publisher` follows transactions and counts, `rows`, `messages`, `read` and `transaction` write one kind of event
//! each.

mod messages;
#[expect(clippy::module_inception, reason = "the one concept of this folder")]
mod publisher;
mod read;
mod rows;
mod settings;
mod transaction;

pub(crate) use publisher::Publisher;
pub(crate) use read::SnapshotRow;
pub(crate) use settings::{DDL_PREFIX, Identity, Mark, PublishError, Settings};
