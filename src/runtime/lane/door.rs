//! What a journaled lane has towards its source: it may be let go of and opened again while what it accepted is still on its way.
//!
//! A sink may be away for hours, and a source may be started again meanwhile, with a new secret, say. Its lane is the same, and so
//! are the task and the feeder that deliver what is in the journal; only who is told, and which pipeline is meant, changes.

use std::sync::Arc;

use headgate_sdk::Str;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::pipeline::stack::PipelinePlan;

/// The run of a source that has a lane, or had it last.
#[derive(Clone)]
pub(super) struct Wiring {
    pub(super) plan: watch::Receiver<Arc<PipelinePlan>>,
    /// Told why, when the lane breaks off.
    pub(super) broken: watch::Sender<Str>,
}

/// Whether anybody has a journaled lane open: a token that is cancelled when its last handle is dropped. `None`: the feeder has
/// ended, and nobody would deliver what is accepted.
pub(super) struct Door(Mutex<Option<CancellationToken>>);

impl Door {
    pub(super) fn new(closed: CancellationToken) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Some(closed))))
    }

    /// Opens it for somebody else; false if the feeder has ended.
    pub(super) fn reopen(&self, closed: CancellationToken) -> bool {
        let mut door = self.0.lock();
        let is_there = door.is_some();
        if is_there {
            *door = Some(closed);
        }
        is_there
    }

    /// Cancelled when whoever has it open now lets go of it.
    pub(super) fn closed(&self) -> CancellationToken {
        let door = self.0.lock();
        door.clone().unwrap_or_else(|| {
            let closed = CancellationToken::new();
            closed.cancel();
            closed
        })
    }

    /// Keeps it closed, unless somebody has it open.
    pub(super) fn end(&self) -> bool {
        let mut door = self.0.lock();
        if door.as_ref().is_some_and(|closed| !closed.is_cancelled()) {
            return false;
        }
        *door = None;
        true
    }

    /// Keeps it closed: the feeder is gone.
    pub(super) fn wall_up(&self) {
        *self.0.lock() = None;
    }
}
