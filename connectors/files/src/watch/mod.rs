//! Finding files: events as hints, scans as the truth.

pub mod hints;
mod inotify;
mod key;
pub mod place;
pub mod tracker;
pub mod walk;

pub use hints::{Hint, Hints, Pending, WatchError, Watcher};
pub use key::Key;
pub use tracker::{Candidate, Tracker};
