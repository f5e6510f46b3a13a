//! Filter: passes on the events that match and drops the others.

mod config;
mod layer;
mod service;

pub use config::{Config, Equals};
pub use layer::FilterLayer;
pub use service::Filter;
