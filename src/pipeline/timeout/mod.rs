//! Timeout: a late outcome opens the breaker. It never cancels: what a sink has accepted, it may still write.

mod layer;
mod service;

pub use layer::TimeoutLayer;
pub use service::Timeout;
