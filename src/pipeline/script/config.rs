//! Programs as keys of the configuration.

use headgate_sdk::Envelope;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Program, ProgramError, RunError};

/// What a program is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Reads, and is true or false.
    Condition,
    /// Reads, and is a value.
    Key,
    /// Changes the event.
    Transform,
}

/// What becomes of a number that VRL's `i64` and `f64` cannot hold exactly.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Numbers {
    /// The step fails on the event.
    #[default]
    Exact,
    /// The program sees its text, a string.
    Text,
}

/// A VRL expression that is true or false, and changes nothing: `%type != "github.ping.v1" && exists(.id)`.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(with = "String")]
pub struct Condition(Program);

/// A VRL expression whose value is a key: a string, number or boolean; `null` is no key.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(with = "String")]
pub struct Key(Program);

/// A VRL program that changes the event: `.` is the data, `%` the envelope (`%id`, `%source`, `%tenantid` and `%recordedtime`
/// cannot be set). Where it sets `.` to an array, each element becomes an event of its own.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(with = "String")]
pub struct Transform(Program);

/// What a program did to an event.
#[derive(Debug, PartialEq)]
pub enum Transformed {
    /// Nothing: its bytes are what they were.
    Unchanged,
    /// It is another now.
    InPlace,
    /// These are to be in its place.
    Several(Vec<Envelope>),
}

impl Condition {
    /// Whether it is true of `event`, which stays as it is; only what was parsed may stay with it.
    ///
    /// # Errors
    /// [`RunError`].
    pub fn holds(&self, event: &mut Envelope) -> Result<bool, RunError> {
        self.0.holds(event)
    }
}

impl Key {
    /// Its value for `event`, which stays as it is, `None` if it is null.
    ///
    /// # Errors
    /// [`RunError`], also if the value is an object or an array.
    pub fn of(&self, event: &mut Envelope) -> Result<Option<String>, RunError> {
        self.0.key(event)
    }
}

impl Transform {
    /// Changes `event`. `step` and a number are appended to the id where it becomes several, of which there may be `max_events`.
    ///
    /// # Errors
    /// [`RunError`]; the event is as it was.
    pub fn run(
        &self,
        event: &mut Envelope,
        numbers: Numbers,
        step: &str,
        max_events: usize,
    ) -> Result<Transformed, RunError> {
        self.0.transform(event, numbers, step, max_events)
    }
}

impl TryFrom<String> for Condition {
    type Error = ProgramError;

    fn try_from(source: String) -> Result<Self, ProgramError> {
        Program::compile(&source, Kind::Condition).map(Self)
    }
}

impl TryFrom<String> for Key {
    type Error = ProgramError;

    fn try_from(source: String) -> Result<Self, ProgramError> {
        Program::compile(&source, Kind::Key).map(Self)
    }
}

impl TryFrom<String> for Transform {
    type Error = ProgramError;

    fn try_from(source: String) -> Result<Self, ProgramError> {
        Program::compile(&source, Kind::Transform).map(Self)
    }
}
