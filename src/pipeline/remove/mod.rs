//! Remove: takes members of JSON data and attributes away; everything else stays byte-identical.

mod config;
mod step;

pub use config::Config;
pub use step::RemoveStep;
