//! A running gateway.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use headgate_sdk::{Str, status::State};
use parking_lot::Mutex;
use serde::Serialize;
use tokio::{sync::watch, task::JoinHandle};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    config::Config,
    dead_letters::DeadLetterStore,
    http::Router,
    journal::Journal,
    pipeline::stack::{PipelinePlan, StackContext},
    runtime::{
        Checkpoints, DataDir,
        lane::{LaneFactory, LaneInfo},
        source::{SourceHandle, SourceReport},
    },
    sink::log::EmbeddedLog,
    trace::{Ledger, Places},
};

/// A running gateway. Clones are handles of the same one.
#[derive(Clone)]
pub struct Gateway {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) data_dir: DataDir,
    pub(super) checkpoints: Checkpoints,
    pub(super) journal: Journal,
    pub(super) lanes: LaneFactory,
    pub(super) stack: StackContext,
    pub(super) dead_letters: DeadLetterStore,
    pub(super) ledger: Ledger,
    /// Retries of dead letters are made one after the other.
    pub(super) retrying: tokio::sync::Mutex<()>,
    /// Replays into a sink are made one after the other; the number of the last batch of one.
    pub(super) replaying: tokio::sync::Mutex<u64>,
    /// Whether it takes nothing in, and its sources do not run.
    pub(super) is_aside: bool,
    pub(super) blobs: Arc<dyn headgate_sdk::blobs::BlobStore>,
    pub(super) router: Arc<Router>,
    pub(super) address: SocketAddr,
    pub(super) config: Mutex<Config>,
    pub(super) sources: Mutex<BTreeMap<Str, RunningSource>>,
    /// Reloads are made one after the other.
    pub(super) reloading: tokio::sync::Mutex<()>,
    /// Stops taking in.
    pub(super) stop: CancellationToken,
    /// Stops waiting for sinks.
    pub(super) abandon: CancellationToken,
    /// Lanes and layers.
    pub(super) tasks: TaskTracker,
    /// The listener.
    pub(super) listening: Mutex<Option<JoinHandle<()>>>,
}

/// A source with what it takes to change or end it.
pub(super) struct RunningSource {
    pub(super) handle: SourceHandle,
    pub(super) plan: watch::Sender<Arc<PipelinePlan>>,
    pub(super) supervisor: JoinHandle<()>,
}

/// How a gateway is, for people and programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GatewayReport {
    /// Whether it takes events in: configuration loaded, journal accepting.
    pub ready: bool,
    /// Why not.
    pub reason: Option<String>,
    /// Its sources, by name.
    pub sources: Vec<SourceReport>,
    /// Its sinks, in the order of the configuration.
    pub sinks: Vec<SinkReport>,
}

/// How a sink is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SinkReport {
    /// Its name.
    pub name: String,
    /// One word.
    pub state: String,
    /// Why, where the state has a reason.
    pub reason: Option<String>,
    /// Whether lanes wait for it.
    pub required: bool,
    /// Its circuit breaker: `closed`, `half_open` or `open`.
    pub breaker: String,
    /// Warnings by key.
    pub warnings: BTreeMap<String, String>,
}

impl Gateway {
    /// The address of the public listener.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.inner.address
    }

    /// How it is.
    #[must_use]
    pub fn report(&self) -> GatewayReport {
        let reason = if self.inner.stop.is_cancelled() {
            Some("the gateway is shutting down".to_owned())
        } else {
            self.inner
                .journal
                .health()
                .err()
                .map(|error| error.to_string())
        };
        GatewayReport {
            ready: reason.is_none(),
            reason,
            sources: self
                .inner
                .sources
                .lock()
                .values()
                .map(|source| source.handle.report())
                .collect(),
            sinks: self.inner.stack.sinks.iter().map(sink_report).collect(),
        }
    }

    /// A source by name.
    #[must_use]
    pub fn source(&self, name: &str) -> Option<SourceHandle> {
        self.inner
            .sources
            .lock()
            .get(name)
            .map(|source| source.handle.clone())
    }

    /// All open lanes.
    #[must_use]
    pub fn lanes(&self) -> Vec<LaneInfo> {
        self.inner.lanes.lanes()
    }

    /// The checkpoint store.
    #[must_use]
    pub fn checkpoints(&self) -> &Checkpoints {
        &self.inner.checkpoints
    }

    /// The journal.
    #[must_use]
    pub fn journal(&self) -> &Journal {
        &self.inner.journal
    }

    /// The embedded log, if a sink is one: the first in the order of the configuration.
    #[must_use]
    pub fn log(&self) -> Option<Arc<EmbeddedLog>> {
        self.inner
            .stack
            .sinks
            .iter()
            .find_map(|plan| plan.sink.log().cloned())
    }

    /// Where an event can be.
    #[must_use]
    pub fn places(&self) -> Places {
        let sinks = self.inner.stack.sinks.iter();
        Places {
            journal: self.inner.journal.clone(),
            logs: sinks
                .filter_map(|plan| Some((plan.sink.name().clone(), plan.sink.log()?.clone())))
                .collect(),
            dead_letters: self.inner.dead_letters.clone(),
            topics: self
                .inner
                .stack
                .sinks
                .iter()
                .filter_map(|plan| Some((plan.sink.name().clone(), plan.sink.topics()?.clone())))
                .collect(),
            ledger: Some(self.inner.ledger.clone()),
        }
    }

    /// The directory that it holds.
    #[must_use]
    pub fn data_dir(&self) -> &DataDir {
        &self.inner.data_dir
    }

    /// The configuration that it runs with.
    #[must_use]
    pub fn config(&self) -> Config {
        self.inner.config.lock().clone()
    }

    /// Stops taking in, drains what is under way for at most `deadline`, and closes everything. What is not durable by then is
    /// sent again at the next start. Returns whether everything was drained.
    pub async fn shutdown(&self, deadline: Duration) -> bool {
        let inner = &self.inner;
        inner.stop.cancel();
        let drained = tokio::time::timeout(deadline, self.drain()).await.is_ok();
        inner.abandon.cancel();
        if !drained {
            tracing::warn!(
                ?deadline,
                "not everything was durable at the deadline; it is sent again at the next start"
            );
            let supervisors: Vec<_> = std::mem::take(&mut *inner.sources.lock())
                .into_values()
                .collect();
            supervisors
                .iter()
                .for_each(|source| source.supervisor.abort());
            inner.tasks.close();
            inner.tasks.wait().await;
        }
        for plan in inner.stack.sinks.iter() {
            plan.sink.close().await;
        }
        inner.checkpoints.close().await;
        let journal = inner.journal.clone();
        let closing = tokio::task::spawn_blocking(move || journal.close());
        if let Err(error) = closing.await {
            tracing::error!(%error, "the journal did not close");
        }
        drained
    }

    async fn drain(&self) {
        let listening = self.inner.listening.lock().take();
        let sources: Vec<_> = std::mem::take(&mut *self.inner.sources.lock())
            .into_values()
            .collect();
        for source in sources {
            let _ended = source.supervisor.await;
        }
        if let Some(listening) = listening {
            let _ended = listening.await;
        }
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
    }
}

fn sink_report(plan: &crate::pipeline::stack::SinkPlan) -> SinkReport {
    let status = plan.sink.status();
    let state = match status.get() {
        State::Starting => State::Ready,
        state => state,
    };
    SinkReport {
        name: plan.sink.name().to_string(),
        state: state.word().to_owned(),
        reason: state.reason().map(ToOwned::to_owned),
        required: plan.required,
        breaker: plan.shown_breaker().state().word().to_owned(),
        warnings: status.warnings(),
    }
}
