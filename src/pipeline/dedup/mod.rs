//! Dedup: drops an event whose key another event had within a window.
//!
//! An entry holds who set it. The same (source, id) always passes again, so that what is sent again after a rewind, a crash or
//! an aborted transaction is never dropped as its own duplicate; an event that ends in the dead letters gives its keys back.
//! An event without a key passes, counted.
//!
//! Invariants: an entry is on disk before the event that set it goes on, so that whoever saw the event delivered finds the
//! entry after a crash; entries are bounded in number, the oldest go first; tenants never share keys. Keys are compared by 128
//! bits of their BLAKE3 hash.

mod config;
mod layer;
mod service;
mod state;
mod step;

#[cfg(test)]
mod tests;

pub use config::Config;
pub use layer::DedupLayer;
pub use service::Dedup;
pub use state::DedupState;
pub use step::DedupStep;
