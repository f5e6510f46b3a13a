//! The whole gateway, as a process.

mod crash;
mod folders;
mod hot_key;
mod outage;
mod poison;
