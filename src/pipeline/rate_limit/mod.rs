//! Rate limit: lets so many events through in a time.
//!
//! One limiter, two places to ask it. Pushed events (webhooks) are charged at the [door](Door), before their bodies are read;
//! the step in the stack lets them pass. Pulled events are charged in the stack, where they wait or become dead letters.
//! A limit for some types alone counts in the stack in any case, because the door does not know the type.

mod config;
mod door;
mod layer;
mod limiter;
mod service;
#[cfg(test)]
mod tests;

pub use config::{Config, OnLimit, Per};
pub use door::Door;
pub use layer::RateLimitLayer;
pub use limiter::Limiter;
pub use service::RateLimit;
