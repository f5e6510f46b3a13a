//! Dead letters that no sink keeps: a log of their own in `data_dir`.
//!
//! Invariant: a letter that was written stays until it is retried or discarded.

mod store;

pub use store::{DeadLetterStore, DeadLetterStoreError};
