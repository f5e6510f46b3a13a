//! Finding files: events as hints, scans as the truth.

pub mod hints;
mod inotify;
pub mod place;
pub mod tracker;
pub mod walk;

pub use hints::{Hint, Hints, Pending, WatchError, Watcher};
pub use tracker::{Candidate, Key, Tracker};
