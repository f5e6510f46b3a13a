//! Filter: passes on the events that match and drops the others.

mod config;
mod step;

pub use config::{Config, Equals};
pub use step::FilterStep;
