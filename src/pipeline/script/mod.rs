//! Script: programs in VRL, compiled when the configuration is loaded.
//!
//! `.` is the data, `%` the envelope's attributes (`%type`, `%subject`, …). A program sees nothing else: its functions are
//! those of a list of our own, which know no environment, system, network, clock or chance, so that the same event gives the same
//! result in a replay. It is bounded in steps, and data in depth.
//!
//! Data is parsed only for programs that look at it, once for all steps in a row that do (the value stays with the event until
//! it has gone through them, see [`Chain`](super::step::Chain)), and written only by a program that changed it. VRL's numbers are `i64` and `f64`:
//! a number that neither holds exactly fails the program instead of changing in silence.
//!
//! Without the cargo feature `vrl` a configuration that has programs is refused.

mod config;
#[cfg(feature = "vrl")]
mod document;
#[cfg(feature = "vrl")]
mod engine;
#[cfg(not(feature = "vrl"))]
#[path = "without.rs"]
mod engine;
#[cfg(feature = "vrl")]
mod functions;
#[cfg(feature = "vrl")]
mod parse;
#[cfg(feature = "vrl")]
mod print;
#[cfg(feature = "vrl")]
mod target;

#[cfg(feature = "vrl")]
#[cfg(test)]
mod tests;

pub use config::{Condition, Key, Numbers, Transform, Transformed};
#[cfg(feature = "vrl")]
pub(in crate::pipeline) use document::Document;
pub use engine::Program;
#[cfg(feature = "vrl")]
pub use functions::NAMES as FUNCTIONS;

/// A program that does not compile; the text shows line, column and a caret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ProgramError(String);

/// A program that failed on an event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct RunError {
    /// One word: `script_failed`, `script_aborted`, `script_too_long`, `invalid_data`, `unexact_number`, `invalid_attribute`.
    pub reason: &'static str,
    /// What happened.
    pub message: String,
}

impl RunError {
    fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
        }
    }
}
