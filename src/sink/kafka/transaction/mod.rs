//! Exactly once: events, and the places where their sources resume, in one transaction.
//!
//! Each shard of the group has a thread and a transactional producer (a second pair for lanes whose events are in this instance's
//! journal alone). A [worker](worker) takes its [seat](seat): it registers its transactional id, which fences whoever had it, reads
//! [from the topic of checkpoints](restore) where the lanes are, and [claims](member) the seat. Then it [gathers](gathering) batches
//! into [transactions](contents), and [commits](commit) each with the lanes' checkpoints in it; `checkpoints.redb` follows as an
//! index.
//!
//! Invariants: a lane opens only after its shard has read past everything that was in the topic when the shard was taken; an outcome is
//! durable only after the commit returned; what a transaction held that was aborted, and everything behind it, comes again in
//! order; whoever is fenced and finds another's claim stops, and never takes the shard back; whoever has nothing to write [looks](idle)
//! for such a claim.

mod barriers;
mod burial;
mod client;
mod commit;
mod config;
mod contents;
mod gathering;
mod idle;
mod ledger;
mod member;
mod reconcile;
mod record;
mod restore;
mod seat;
mod service;
mod shard;
mod topic;
mod worker;

pub use config::{Delivery, Transactions};
pub use member::Member;
pub(super) use shard::Shards;
