//! Redact: masks, hashes or takes away what others must not read.
//!
//! The text of the data is edited: what the step does not touch stays byte-identical. Redacting twice is redacting once, so that an
//! event that is tried again from the dead letters comes out as it did before. An event that cannot be redacted never goes on.

mod config;
mod field;
mod step;
mod treatment;

pub use config::{Config, HashKey, OnFailure, With};
pub use field::Field;
pub use step::RedactStep;

#[cfg(test)]
mod tests;
