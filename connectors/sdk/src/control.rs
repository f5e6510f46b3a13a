//! Commands from the operator to a running source: `snapshot`, `status` and whatever else a connector offers.

use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

/// One command.
#[derive(Debug)]
pub struct Control {
    /// What to do, e.g. `snapshot`.
    pub action: String,
    /// Its arguments, a JSON object.
    pub arguments: Value,
    reply: oneshot::Sender<Result<Value, ControlError>>,
}

impl Control {
    /// A command and the way its answer comes back.
    #[must_use]
    pub fn new(
        action: impl Into<String>,
        arguments: Value,
    ) -> (Self, oneshot::Receiver<Result<Value, ControlError>>) {
        let (reply, answer) = oneshot::channel();
        (
            Self {
                action: action.into(),
                arguments,
                reply,
            },
            answer,
        )
    }

    /// Answers it. Whoever asked may be gone; that is fine.
    pub fn reply(self, answer: Result<Value, ControlError>) {
        let _gone = self.reply.send(answer);
    }

    /// Answers that this source has no such action.
    pub fn unknown(self) {
        let action = self.action.clone();
        self.reply(Err(ControlError::Unknown { action }));
    }
}

/// Why a command was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// The source has no such action.
    #[error("this source has no action `{action}`")]
    Unknown {
        /// Which.
        action: String,
    },
    /// Its arguments are wrong; says which and what to write.
    #[error("{0}")]
    Invalid(String),
    /// It was tried and failed.
    #[error("{0}")]
    Failed(String),
}

/// A source's queue of commands, bounded; it lives as long as the source is configured.
#[derive(Debug)]
pub struct Controls(mpsc::Receiver<Control>);

impl Controls {
    /// Commands that arrive on `queue`.
    #[must_use]
    pub fn new(queue: mpsc::Receiver<Control>) -> Self {
        Self(queue)
    }

    /// The next command; never resolves once nobody can send any more. Cancel safe.
    pub async fn next(&mut self) -> Control {
        match self.0.recv().await {
            Some(control) => control,
            None => std::future::pending().await,
        }
    }
}
