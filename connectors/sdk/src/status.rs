//! What a source says about itself: shown in `/readyz` and `headgate status`.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

/// How a source is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum State {
    /// Not yet working.
    #[default]
    Starting,
    /// Working.
    Ready,
    /// Working again by itself once something ends; says what.
    Waiting(String),
    /// Held by the operator.
    Paused,
    /// Failed; will be restarted. Says why.
    Restarting(String),
    /// Stopped until somebody acts; says what to do.
    Failed(String),
    /// Ended.
    Stopped,
}

impl State {
    /// One lower-case word.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Waiting(_) => "waiting",
            Self::Paused => "paused",
            Self::Restarting(_) => "restarting",
            Self::Failed(_) => "failed",
            Self::Stopped => "stopped",
        }
    }

    /// The reason, where it has one.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Waiting(reason) | Self::Restarting(reason) | Self::Failed(reason) => Some(reason),
            _ => None,
        }
    }
}

#[derive(Debug, Default)]
struct Board {
    state: State,
    warnings: BTreeMap<String, String>,
}

/// The board on which a source writes how it is. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Status(Arc<Mutex<Board>>);

impl Status {
    /// Sets the state.
    pub fn set(&self, state: State) {
        self.board().state = state;
    }

    /// The state now.
    #[must_use]
    pub fn get(&self) -> State {
        self.board().state.clone()
    }

    /// Shows a warning under `key` (one key, one warning) until it is [cleared](Self::clear). It names the object and the remedy
    /// and never changes readiness.
    pub fn warn(&self, key: impl Into<String>, message: impl Into<String>) {
        self.board().warnings.insert(key.into(), message.into());
    }

    /// Takes a warning away.
    pub fn clear(&self, key: &str) {
        self.board().warnings.remove(key);
    }

    /// All warnings, by key.
    #[must_use]
    pub fn warnings(&self) -> BTreeMap<String, String> {
        self.board().warnings.clone()
    }

    fn board(&self) -> std::sync::MutexGuard<'_, Board> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
