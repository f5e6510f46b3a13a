//! The whole gateway, as a process.

mod crash;
mod folders;
mod outage;
