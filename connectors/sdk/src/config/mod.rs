//! The vocabulary of configuration that connectors, layers and sinks share: [`Secret`], [`HumanDuration`], [`ByteSize`]
//! and [`Rate`].
//!
//! Each is written in the configuration as one readable scalar, parses with an error that says what to write instead,
//! prints itself back in the form it was read from, and announces itself in the JSON Schema by a `format` of its own.
//! The gateway's loader checks these formats before serde sees the value, so that a wrong unit is reported with file,
//! line and column together with every other mistake in the file.

mod duration;
mod rate;
mod secret;
mod size;

pub use duration::{HumanDuration, ParseDurationError};
pub use rate::{ParseRateError, Rate};
pub use secret::Secret;
pub use size::{ByteSize, ParseSizeError};

/// Splits `30s` into its leading digits (with an optional fraction) and the unit that follows them.
fn split_number(text: &str) -> (&str, &str) {
    let end = text
        .find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '_'))
        .unwrap_or(text.len());
    text.split_at(end)
}
