//! Max age: when an event stops being worth acting on.

mod config;
mod step;

pub use config::{Config, OnStale};
pub use step::{FLAG, MaxAgeStep};
