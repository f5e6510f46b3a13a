//! What the operator holds of a source.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use headgate_sdk::{
    Str,
    admission::{Admission, Admitted, Arrival, Limited, Limiter},
    control::{Control, ControlError},
    status::{State, Status},
};
use parking_lot::{Mutex, RwLock};
use serde::Serialize;
use serde_json::Value;
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;

/// How long a source may take to answer a command.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// A running source. Clones are handles of the same one.
#[derive(Clone)]
pub struct SourceHandle {
    pub(super) name: Str,
    pub(super) connector: &'static str,
    pub(super) status: Status,
    pub(super) paused: watch::Sender<bool>,
    pub(super) restart: Arc<Notify>,
    pub(super) stop: CancellationToken,
    /// The queue of the present run; `None` between runs.
    pub(super) controls: Arc<Mutex<Option<mpsc::Sender<Control>>>>,
    pub(super) door: Arc<Door>,
}

/// A source's limits, which a reload may exchange while it runs.
pub(super) struct Door(RwLock<Admission>);

impl Door {
    pub(super) fn new(admission: Admission) -> Self {
        Self(RwLock::new(admission))
    }
}

impl Limiter for Door {
    fn admit(&self, arrival: Arrival<'_>) -> Result<Admitted, Limited> {
        self.0.read().admit(arrival)
    }
}

/// How a source is, for people and programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SourceReport {
    /// Its name.
    pub name: String,
    /// Its connector.
    pub connector: String,
    /// One word.
    pub state: String,
    /// Why, where the state has a reason.
    pub reason: Option<String>,
    /// Warnings by key.
    pub warnings: BTreeMap<String, String>,
}

impl SourceHandle {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &Str {
        &self.name
    }

    /// How it is.
    #[must_use]
    pub fn report(&self) -> SourceReport {
        let state = match self.status.get() {
            State::Ready | State::Starting if *self.paused.borrow() => State::Paused,
            state => state,
        };
        SourceReport {
            name: self.name.to_string(),
            connector: self.connector.to_owned(),
            state: state.word().to_owned(),
            reason: state.reason().map(ToOwned::to_owned),
            warnings: self.status.warnings(),
        }
    }

    /// Holds it: it stays connected, and takes nothing in.
    pub fn pause(&self) {
        self.paused.send_replace(true);
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.paused.send_replace(false);
    }

    /// Exchanges the limits at its door.
    pub fn set_admission(&self, admission: Admission) {
        *self.door.0.write() = admission;
    }

    /// Ends it for good.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Ends the present run and starts a new one at once, also after a fatal error.
    pub fn restart(&self) {
        self.restart.notify_one();
    }

    /// Sends a command to the present run and waits for its answer.
    ///
    /// # Errors
    /// [`ControlError`] if the source does not run, does not know the action, refuses it, or does not answer in time.
    pub async fn control(&self, action: &str, arguments: Value) -> Result<Value, ControlError> {
        let queue = self.controls.lock().clone();
        let not_running = || ControlError::Failed(format!("source `{}` is not running", self.name));
        let queue = queue.ok_or_else(not_running)?;
        let (control, answer) = Control::new(action, arguments);
        let ask = async {
            queue.send(control).await.map_err(|_| not_running())?;
            answer.await.map_err(|_| not_running())?
        };
        let late = || {
            ControlError::Failed(format!(
                "source `{}` did not answer within {ANSWER_WITHIN:?}",
                self.name
            ))
        };
        tokio::time::timeout(ANSWER_WITHIN, ask)
            .await
            .map_err(|_| late())?
    }
}
