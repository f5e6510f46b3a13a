//! The `pgoutput` decoder, protocol versions 1 to 4.
//!
//! Messages borrow from the frame that they came in; tuples are checked once and then walked without copying.
//!
//! Source: PostgreSQL manual, "Logical Replication Message Formats".
//!
//! Invariants: nothing panics on any bytes; a message is accepted only if it is used up to its last byte.

mod decode;
mod message;
#[cfg(test)]
mod tests;

pub(crate) use decode::{DecodeError, Decoder};
pub(crate) use message::{
    Column, ColumnValue, Identity, Message, OldKind, POSTGRES_EPOCH_MICROS, Relation, Tuple,
};
