//! Max hops: ends chains of events that come back again and again.
//!
//! An agent that reacts to an event with another one names the first as its `causationid`; whoever brings it in through this
//! door counts `hop` up. An endless chain ends here.

mod config;
mod step;

pub use config::Config;
pub use step::MaxHopsStep;
