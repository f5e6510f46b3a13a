//! A gateway that was built without VRL.

use std::convert::Infallible;

use headgate_sdk::Envelope;

use super::config::{Kind, Numbers};
use super::{ProgramError, RunError};

/// There are none.
#[derive(Debug, Clone, PartialEq)]
pub struct Program(Infallible);

impl Program {
    pub(super) fn compile(_: &str, _: Kind) -> Result<Self, ProgramError> {
        Err(ProgramError(
            "this gateway was built without the cargo feature `vrl`: use `equals`, `set`, `remove`, `rename`, or a build with it".into(),
        ))
    }

    pub(super) fn holds(&self, _: &Envelope) -> Result<bool, RunError> {
        match self.0 {}
    }

    pub(super) fn key(&self, _: &Envelope) -> Result<Option<String>, RunError> {
        match self.0 {}
    }

    pub(super) fn transform(
        &self,
        _: &Envelope,
        _: Numbers,
        _: &str,
        _: usize,
    ) -> Result<Option<Vec<Envelope>>, RunError> {
        match self.0 {}
    }
}
