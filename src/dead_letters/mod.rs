//! Dead letters that no sink keeps: a log of their own in `data_dir`.
//!
//! The module owns one directory: the segments, `data`, a folder with a file for each letter that is too large to lie with the
//! others, and `audit.jsonl`, one line for each letter that was discarded. In memory it keeps which letters are live (about 200
//! bytes each), never their content.
//!
//! Invariants: a letter that was written stays until it is retried or discarded, and is known by the same position all the time;
//! a letter that is written again (same source, id and step) takes the place of the one before; a letter is resolved durably
//! before anyone is told; the log takes at most twice what its live letters need, or four segments. When the letters take more
//! than they may, whoever has another one waits: nothing is dropped.

mod apart;
mod changes;
mod compact;
mod filter;
mod live;
mod record;
mod store;

#[cfg(test)]
mod tests;

pub use changes::{Change, Changes};
pub use filter::Filter;
pub(crate) use filter::source_name;
pub use record::{Name, Resolution, Resolved};
pub use store::{DeadLetterStats, DeadLetterStore, DeadLetterStoreError, Kept};
