//! Replay: events that were accepted or delivered before, once more.
//!
//! [`Chunk`]s are read from the journal or the embedded log, as far as those still hold them; the runtime delivers them (or
//! nobody does, in a dry run). A replayed event keeps its id and carries `replayid`. What a replay itself has written is never
//! taken again by it, so that it comes to an end. This module reads; it owns nothing.

mod choice;
mod read;

pub use choice::Choice;
pub use read::{Chunk, ReplayError, from_journal, from_log};
