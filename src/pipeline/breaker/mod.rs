//! Circuit breaker: keeps a failing sink from being called, except for one probe a second.
//!
//! One [`Breaker`] per sink, shared by all lanes; with it goes the sink's retry budget. It opens when the limits of `retry` are
//! reached, when an outcome is late, or when the budget does not cover another repetition. While it is open one call at a time
//! is let through (half-open), no sooner than a second after the one before. It never gives an event up: while it is open,
//! batches stay on their lanes.

mod budget;
mod config;
mod layer;
mod service;
mod state;

pub use config::{Config, Jitter};
pub use layer::BreakerLayer;
pub use service::CircuitBreaker;
pub use state::{Admission, Breaker, BreakerState};
