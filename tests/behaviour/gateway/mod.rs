//! The whole gateway, as a process.

mod changed;
mod crash;
mod dedup;
mod disk;
mod exactly_once;
mod folders;
mod full;
mod hot_key;
pub(crate) mod identity;
mod isolation;
mod letters;
mod outage;
mod overload;
mod poison;
mod redact;
mod refusals;
mod replay;
mod selection;
mod stopping;
mod trace;
