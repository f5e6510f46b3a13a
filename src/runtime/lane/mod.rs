//! Lanes: one task each, from a source's batch to the stored checkpoint.
//!
//! A [`task`](LaneTask) calls the lane's pipeline with one batch after the other and follows the outcomes; its
//! [`AckTracker`](tracker::AckTracker) finds the durable prefix; the checkpoint is stored, and only then is the source told.
//! Lanes that can be read again feed the task directly ([`pulled`]); those that cannot go through the journal
//! ([`journaled`]).
//!
//! A task that breaks off (a layer panicked, which is a bug) takes its lane with it: the source is restarted, opens the lane anew
//! and goes on from the stored checkpoint.
//!
//! Invariants: at most one task per lane id; a lane that can be read again is opened anew only after its last task has drained, and
//! one of the journal goes on with the task that it has; progress never runs ahead of the stored checkpoint.

mod door;
mod entries;
mod indexer;
mod journaled;
mod opener;
mod place;
mod pulled;
mod task;
#[cfg(test)]
mod tests;
mod tracker;

pub(crate) use opener::LaneFactory;
pub use opener::LaneInfo;
pub(crate) use place::Place;
pub(crate) use tracker::AckTracker;
