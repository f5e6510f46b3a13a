//! Transform: a VRL program that changes events.
//!
//! A step that changes nothing passes the original bytes on. What it makes of data is JSON, its members sorted by name.

mod config;
mod step;

pub use config::Config;
pub use step::TransformStep;
