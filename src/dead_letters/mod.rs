//! Dead letters that no sink keeps: a log of their own in `data_dir`.
//!
//! The module owns one directory: the segments and `audit.jsonl`, one line for each letter that was discarded. In memory it
//! keeps which letters are live (about 100 bytes each), never their content.
//!
//! Invariants: a letter that was written stays until it is retried or discarded; a letter that is written again (same source,
//! id and step) takes the place of the one before; a letter is resolved durably before anyone is told.

mod filter;
mod live;
mod record;
mod store;

#[cfg(test)]
mod tests;

pub use filter::Filter;
pub(crate) use filter::source_name;
pub use record::Resolution;
pub use store::{DeadLetterStats, DeadLetterStore, DeadLetterStoreError, Kept};
