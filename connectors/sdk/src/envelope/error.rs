//! Why something from outside is not a CloudEvent.

use super::Str;

/// What is wrong with an incoming event. Its text names the attribute and never repeats a value: it may be answered to the
/// sender and logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidEvent {
    index: Option<usize>,
    attribute: Option<Str>,
    problem: Problem,
}

/// The kinds of [`InvalidEvent`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The rule of an attribute, or of `data`, is broken; the text completes "`{attribute}` …".
    #[error("{0}")]
    Rule(&'static str),
    /// The document is not JSON.
    #[error("not valid JSON at line {line}, column {column}")]
    Json {
        /// Counted from 1.
        line: usize,
        /// Counted from 1.
        column: usize,
    },
    /// The document is JSON of another kind.
    #[error("{0}")]
    Shape(&'static str),
    /// The event format is one that this gateway does not read.
    #[error("an event format that is not read here; use `application/cloudevents+json` in UTF-8")]
    UnsupportedFormat,
}

/// Longest attribute name that an error repeats.
const SHOWN_NAME_CHARS: usize = 40;

impl InvalidEvent {
    pub(super) fn rule(attribute: &str, problem: &'static str) -> Self {
        let shown: String = attribute
            .chars()
            .take(SHOWN_NAME_CHARS)
            .flat_map(char::escape_debug)
            .collect();
        Self {
            index: None,
            attribute: Some(shown.into()),
            problem: Problem::Rule(problem),
        }
    }

    pub(super) const fn document(problem: Problem) -> Self {
        Self {
            index: None,
            attribute: None,
            problem,
        }
    }

    pub(super) fn json(error: &serde_json::Error) -> Self {
        Self::document(Problem::Json {
            line: error.line(),
            column: error.column(),
        })
    }

    pub(super) fn at(mut self, index: usize) -> Self {
        self.index = Some(index);
        self
    }

    /// The attribute (or `data`, `data_base64`) whose rule is broken; `None` if the document as a whole is at fault.
    /// Shortened and escaped when the sender's name is outlandish.
    #[must_use]
    pub fn attribute(&self) -> Option<&str> {
        self.attribute.as_deref()
    }

    /// The place in the batch, counted from 0.
    #[must_use]
    pub const fn index(&self) -> Option<usize> {
        self.index
    }

    /// What is wrong.
    #[must_use]
    pub const fn problem(&self) -> &Problem {
        &self.problem
    }
}

impl std::fmt::Display for InvalidEvent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(index) = self.index {
            write!(f, "event {index} of the batch: ")?;
        }
        if let Some(attribute) = &self.attribute {
            write!(f, "`{attribute}` ")?;
        }
        self.problem.fmt(f)
    }
}

impl std::error::Error for InvalidEvent {}
