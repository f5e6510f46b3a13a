//! The two traits that make a connector.

use std::{error::Error, future::Future};

use futures::future::BoxFuture;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use crate::{SourceContext, SourceInfo, command::CommandContext, command::CommandOutcome};

/// A kind of source. The gateway knows a connector by this trait alone; its registry is one list in one file.
pub trait Connector: Send + Sync + 'static {
    /// The connector's name: its folder, its crate and the `type:` of its sources.
    const NAME: &'static str;
    /// One sentence for `headgate connectors`.
    const SUMMARY: &'static str;
    /// The source's keys in the configuration, except those common to all sources (`type`, `tenant`, `pipeline`).
    type Config: DeserializeOwned + JsonSchema + Send + 'static;
    /// What it builds.
    type Source: Source;

    /// Builds a source. Does no I/O: whatever can be wrong without asking anybody is refused here, all of it at once.
    ///
    /// # Errors
    /// [`BuildError`] with every problem and the key it belongs to.
    fn build(config: Self::Config, info: &SourceInfo) -> Result<Self::Source, BuildError>;

    /// The HTTP paths that a source of this configuration will mount, so that conflicts are found without starting it.
    fn http_paths(_config: &Self::Config, _info: &SourceInfo) -> Vec<String> {
        Vec::new()
    }

    /// What is allowed in a configuration that builds, but probably not meant: `headgate validate` shows it.
    fn warnings(_config: &Self::Config, _info: &SourceInfo) -> Vec<Problem> {
        Vec::new()
    }

    /// How a person who has just started the gateway sends a source of this configuration its first event; none if it cannot be
    /// said in a command or two.
    fn examples(_config: &Self::Config, _cx: &ExampleContext<'_>) -> Vec<Example> {
        Vec::new()
    }

    /// Its own subcommands, mounted as `headgate {NAME} …`.
    fn command() -> Option<clap::Command> {
        None
    }

    /// Runs a subcommand of [`command`](Self::command).
    fn run_command<'a>(
        matches: &'a clap::ArgMatches,
        cx: CommandContext<'a>,
    ) -> BoxFuture<'a, CommandOutcome> {
        let (_, _) = (matches, cx);
        Box::pin(async { CommandOutcome::Usage("this connector has no commands".into()) })
    }
}

/// What a command that a person pastes into a shell is made of.
#[derive(Debug, Clone, Copy)]
pub struct ExampleContext<'a> {
    /// Who the source is.
    pub source: &'a SourceInfo,
    /// How the program was called, such as `./headgate`.
    pub program: &'a str,
    /// The configuration file, as it was named.
    pub config_file: &'a str,
    /// The public listener as seen from this machine, such as `http://127.0.0.1:8080`.
    pub http_url: &'a str,
}

/// A way to try a source out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Example {
    /// What it does, such as `send a signed webhook`.
    pub what: String,
    /// The command, ready to paste. It may show no secret of the configuration; a signature is none.
    pub command: String,
}

/// A configured source.
pub trait Source: Send + 'static {
    /// Reads until shutdown or failure. On `cx.shutdown` it stops reading, waits for nothing of its own beyond what closing
    /// cleanly takes, and returns `Ok`; the runtime drains what was sent. After an error it is built again and restarted with
    /// backoff, unless the error says stop.
    fn run(self, cx: SourceContext) -> impl Future<Output = Result<(), SourceError>> + Send;
}

/// Why a configuration cannot be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.problems.iter().map(|p| format!("{}: {}", p.pointer, p.message)).collect::<Vec<_>>().join("; "))]
pub struct BuildError {
    /// All of them; never empty.
    pub problems: Vec<Problem>,
}

/// One problem of a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// JSON pointer to the key, relative to the source's own table; empty for the table itself.
    pub pointer: String,
    /// What is wrong and what to write instead.
    pub message: String,
}

impl Problem {
    /// What is wrong with the key at `pointer`.
    pub fn new(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            pointer: pointer.into(),
            message: message.into(),
        }
    }
}

impl BuildError {
    /// A single problem.
    #[must_use]
    pub fn new(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            problems: vec![Problem::new(pointer, message)],
        }
    }
}

/// Why a source ended. The variant says what the supervisor does.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// It may work again: restart with backoff.
    #[error("{message}")]
    Retriable {
        /// What failed, and what to do about it.
        message: String,
        /// The cause.
        #[source]
        source: Option<Box<dyn Error + Send + Sync>>,
    },
    /// It cannot work until somebody acts: stop this source and say so.
    #[error("{message}")]
    Fatal {
        /// What is wrong and the command or setting that mends it.
        message: String,
        /// The cause.
        #[source]
        source: Option<Box<dyn Error + Send + Sync>>,
    },
}

impl SourceError {
    /// A retriable error without a cause of its own.
    pub fn retriable(message: impl Into<String>) -> Self {
        Self::Retriable {
            message: message.into(),
            source: None,
        }
    }

    /// A fatal error without a cause of its own.
    pub fn fatal(message: impl Into<String>) -> Self {
        Self::Fatal {
            message: message.into(),
            source: None,
        }
    }
}

impl From<crate::LaneError> for SourceError {
    fn from(error: crate::LaneError) -> Self {
        Self::Retriable {
            message: error.to_string(),
            source: Some(Box::new(error)),
        }
    }
}
