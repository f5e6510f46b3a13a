//! The whole gateway, as a process.

mod crash;
mod exactly_once;
mod folders;
mod full;
mod hot_key;
mod outage;
mod poison;
mod refusals;
mod stopping;
mod trace;
