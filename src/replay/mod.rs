//! Replay: events that were accepted or delivered before, once more.
//!
//! Parts are read from the journal, an embedded log or topics, as far as those still hold them; the runtime delivers them (or
//! nobody does, in a dry run). A replayed event keeps its id and carries `replayid`. What a replay itself has written is never
//! taken again by it, so that it comes to an end. This module reads; it owns nothing.

mod choice;
pub mod cursor;
mod read;
mod topics;

pub use choice::Choice;
pub use read::{Chunk, ReplayError, from_journal, from_log};
pub use topics::{TopicsChunk, from_topics};
