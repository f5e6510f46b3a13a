//! Sources: one supervisor each, which builds, runs and restarts it.
//!
//! Invariants: a source's failure touches no other source; at most one run of a source at a time; a fatal error stops it until
//! somebody restarts it.

mod handle;
mod supervisor;
#[cfg(test)]
mod tests;

pub use handle::{SourceHandle, SourceReport};
pub(crate) use supervisor::Supervisor;
