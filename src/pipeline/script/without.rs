//! A gateway that was built without VRL.

use std::convert::Infallible;

use headgate_sdk::Envelope;

use super::config::{Kind, Numbers, Transformed};
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

    pub(super) fn holds(&self, _: &mut Envelope) -> Result<bool, RunError> {
        match self.0 {}
    }

    pub(super) fn key(&self, _: &mut Envelope) -> Result<Option<String>, RunError> {
        match self.0 {}
    }

    pub(super) fn transform(
        &self,
        _: &mut Envelope,
        _: Numbers,
        _: &str,
        _: usize,
    ) -> Result<Transformed, RunError> {
        match self.0 {}
    }
}
