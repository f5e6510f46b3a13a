//! Reading rows that exist already, while changes go on.
//!
//! A chunk of a table is read between two logical messages, the low and the high watermark. When the stream reaches the high
//! one, the rows of the chunk that the stream did not touch in between are sent; the others are newer in the stream. So no
//! chunk overwrites a newer change, and nothing has to stop.
//!
//! Two corners that this must not cut:
//! - A transaction is in the log before it is visible. One that the stream passed before the low watermark may be missing in the
//!   chunk's snapshot; then the chunk is read again.
//! - A change may leave out TOASTed values. The row it touched is then not simply dropped from the chunk, but read again.
//!
//! Tables without a key cannot be told apart row by row: they are read in one piece from an exported snapshot, which is sent at
//! exactly that place of the stream ([`Export`]).
//!
//! Progress lies in the lane's entries, `snapshot/{name}/{schema.table}`, and is stored with the rows that it counts.

mod export;
mod progress;
mod query;
mod readers;
mod rows;
mod worker;

pub(crate) use export::Export;
pub(crate) use progress::{KNOWN_PREFIX, PREFIX, Progress, forgotten_entry, known_entry};
pub(crate) use readers::{Readers, ReadersSettings};
pub(crate) use worker::{Chunk, FromReader, Verdict};
