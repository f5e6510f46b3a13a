//! How a command ends.

use std::io;
use std::process::ExitCode;

use headgate_sdk::command::CommandOutcome;

use crate::admin::GatewayError;
use crate::config::LoadError;

/// What was checked is wrong.
pub(super) const WRONG: u8 = 1;
/// The command line is wrong.
pub(super) const USAGE: u8 = 2;
/// It could not be done.
pub(super) const FAILED: u8 = 3;

/// A command that did what it was asked, or why not.
pub(super) type Done = Result<(), Failure>;

/// An exit code, and what goes to standard error before it.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) code: u8,
    pub(super) message: Option<String>,
}

impl Failure {
    /// What was checked is wrong; it was said already.
    pub(super) fn wrong() -> Self {
        Self {
            code: WRONG,
            message: None,
        }
    }

    /// The command line is wrong; says how to write it.
    pub(super) fn usage(message: impl Into<String>) -> Self {
        Self {
            code: USAGE,
            message: Some(message.into()),
        }
    }

    /// It could not be done; says what to do.
    pub(super) fn failed(message: impl Into<String>) -> Self {
        Self {
            code: FAILED,
            message: Some(message.into()),
        }
    }

    /// Says it and gives the exit code.
    pub(super) fn exit(self) -> ExitCode {
        self.say();
        ExitCode::from(self.code)
    }

    /// Says it, unless that was done.
    pub(super) fn say(&self) {
        if let Some(message) = &self.message {
            let _closed = io::Write::write_all(
                &mut io::stderr(),
                format!("headgate: {message}\n").as_bytes(),
            );
        }
    }

    /// The end of several things that were done one after the other, each of which has said for itself what is wrong.
    pub(super) fn worst(ends: impl IntoIterator<Item = Done>) -> Done {
        let code = ends.into_iter().filter_map(Result::err);
        match code.map(|failure| failure.code).max() {
            None => Ok(()),
            Some(code) => Err(Self {
                code,
                message: None,
            }),
        }
    }

    /// From what a connector's command says.
    pub(super) fn of(outcome: CommandOutcome) -> Done {
        match outcome {
            CommandOutcome::Fine => Ok(()),
            CommandOutcome::Wrong => Err(Self::wrong()),
            CommandOutcome::Usage(message) => Err(Self::usage(message)),
            CommandOutcome::Failed(message) => Err(Self::failed(message)),
        }
    }
}

impl From<io::Error> for Failure {
    /// Whoever reads our output may stop reading: that is no failure.
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self {
                code: 0,
                message: None,
            },
            _ => Self::failed(format!("cannot write the output: {error}")),
        }
    }
}

impl From<GatewayError> for Failure {
    fn from(error: GatewayError) -> Self {
        let message = error.to_string();
        match error {
            GatewayError::NotFound(_) | GatewayError::Invalid(_) => Self::usage(message),
            GatewayError::NotRunning { .. }
            | GatewayError::Refused(_)
            | GatewayError::Failed(_) => Self::failed(message),
            GatewayError::Configuration(findings) => {
                let findings: Vec<String> = findings
                    .iter()
                    .map(|finding| format!("\n{finding}"))
                    .collect();
                Self {
                    code: WRONG,
                    message: Some(message + &findings.concat()),
                }
            }
        }
    }
}

impl From<LoadError> for Failure {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Unreadable { .. } => Self::failed(error.to_string()),
            LoadError::Invalid(error) => {
                let count = error.findings().len();
                let things = if count == 1 {
                    "one thing"
                } else {
                    &format!("{count} things")
                };
                Self {
                    code: WRONG,
                    message: Some(format!("the configuration is wrong in {things}\n{error}")),
                }
            }
        }
    }
}
