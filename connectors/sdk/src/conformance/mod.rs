//! The suite that every connector passes: no loss, order within a lane, resume after a crash, clean shutdown, bad configuration
//! refused.
//!
//! A connector describes itself as a [`Subject`] and calls [`passes`] in a test. Its source runs on lanes in memory, whose
//! durability the suite holds back, releases and crashes at will; the outside world (files, requests, a server) is the
//! subject's own and real. Benchmarks run sources in the same world, on lanes that keep nothing.

mod checks;
mod lanes;
mod null;
mod world;

pub use checks::passes;
pub use lanes::{MemoryLanes, Sent};
pub use null::NullLanes;
pub use world::{Run, World};

use std::{future::Future, ops::Range};

use serde_json::Value;

use crate::{Connector, Envelope};

/// A connector under test, with the outside world that it reads.
pub trait Subject: Send {
    /// The connector.
    type Connector: Connector;

    /// A configuration that reads this subject's outside world.
    fn config(&self) -> Value;

    /// Configurations that must be refused, each with what is wrong with it.
    fn bad_configs(&self) -> Vec<(&'static str, Value)>;

    /// Makes one event happen for each number, in order. A push source is called (through [`World::request`]) until it has
    /// accepted each of them; a pull source's world changes, whether or not the source runs.
    fn produce(&mut self, numbers: Range<u64>, world: &World) -> impl Future<Output = ()> + Send;

    /// The number of an event, `None` for events that carry none (metadata, schema events).
    fn number(&self, event: &Envelope) -> Option<u64>;
}
