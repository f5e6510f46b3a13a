//! Trial: unit tests of a configuration, run by `headgate test`.
//!
//! A case sends events through the pipeline of a source, with its steps and its route as they are configured, and compares what
//! would be written to each sink. Nothing is opened, nothing is sent: sinks are names here, limits let everything pass.

mod case;
mod compare;
mod report;
mod run;

#[cfg(test)]
mod tests;

pub use case::{Case, CaseError, CaseFile, EventSpec, Expect, ExpectedLetter};
pub use compare::{Mismatch, compare};
pub use report::{Failed, Report, diff, junit};
pub use run::{Outcome, Seen, Trial, TrialError};
