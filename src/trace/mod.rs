//! Where an event is: what the stores say about it, and the ledger of runs.
//!
//! The ledger is a log of its own in `data_dir/trace`: per lane and sink, which batches became durable when and after how many
//! attempts, and where they lie; batches that went smoothly within the same second share an entry. It is written behind the deliveries, a second at a
//! time: a crash may cost its last second, never an event, and a delivery never waits for it. It is bounded by age and size.

mod find;
mod ledger;
mod run;
mod topics;

#[cfg(test)]
mod tests;

pub use find::{Delivered, Place, Places, Received, Sighting, Traced, find};
pub use ledger::{Config, Ledger};
pub use run::Run;
