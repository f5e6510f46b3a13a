//! The outbox table: its inserts are events of the application's own making.

use crate::{config::Outbox, pgoutput::Relation};

/// Where the parts of an event are.
#[derive(Debug, Clone)]
pub(crate) struct OutboxColumns {
    pub(super) id: usize,
    pub(super) event_type: usize,
    pub(super) topic: Option<usize>,
    pub(super) key: Option<usize>,
    pub(super) payload: usize,
}

impl OutboxColumns {
    /// Finds them; id, type and payload must be there.
    pub(super) fn new(outbox: &Outbox, relation: &Relation) -> Result<Self, String> {
        let find = |name: &str| relation.columns.iter().position(|c| c.name == name);
        let need = |key: &str, name: &str| {
            find(name).ok_or_else(|| {
                format!(
                    "the outbox table {} publishes no column `{name}`: name the right one in `outbox.{key}`",
                    outbox.table
                )
            })
        };
        Ok(Self {
            id: need("id", &outbox.id)?,
            event_type: need("type", &outbox.r#type)?,
            topic: find(&outbox.topic),
            key: find(&outbox.key),
            payload: need("payload", &outbox.payload)?,
        })
    }
}
