//! The whole gateway, as a process.

mod crash;
mod outage;
