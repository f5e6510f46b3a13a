//! The whole gateway, as a process.

mod crash;
