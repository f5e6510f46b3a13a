//! Circuit breaker: keeps a failing sink from being called, except for one probe a second.
//!
//! One [`Breaker`] per sink, shared by all lanes. It never gives an event up: while it is open, batches stay on their lanes.

mod config;
mod layer;
mod service;
mod state;

pub use config::Config;
pub use layer::BreakerLayer;
pub use service::CircuitBreaker;
pub use state::{Breaker, BreakerState};
