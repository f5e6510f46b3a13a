//! Builds, runs and restarts one source.

use std::{path::PathBuf, sync::Arc, time::Duration};

use headgate_sdk::{
    Lanes, SourceContext, SourceError, SourceInfo, Str,
    admission::Admission,
    blobs::BlobStore,
    control::Controls,
    http::Mounts,
    status::{State, Status},
};
use tokio::{
    sync::{Notify, mpsc, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::handle::{Door, SourceHandle};
use crate::{config::Keys, connectors::Registration};

/// Commands that may wait for a source.
const CONTROL_QUEUE: usize = 16;
/// The first and the longest pause before a restart, and the running time after which the pause starts small again.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(60));
const GOOD_RUN: Duration = Duration::from_secs(60);

/// Everything that the runs of a source have in common.
pub(crate) struct Supervisor {
    pub(crate) connector: Registration,
    pub(crate) info: SourceInfo,
    pub(crate) keys: Keys,
    pub(crate) lanes: Lanes,
    /// Told why, when one of the lanes broke off.
    pub(crate) broken: watch::Sender<Str>,
    pub(crate) http: Mounts,
    pub(crate) admission: Admission,
    pub(crate) blobs: Arc<dyn BlobStore>,
    pub(crate) scratch: PathBuf,
    pub(crate) paused: watch::Sender<bool>,
    pub(crate) stop: CancellationToken,
}

/// How a run ended.
enum Ended {
    Stopped,
    Restart,
    Failed(SourceError),
}

impl Supervisor {
    /// The operator's handle, and the future that supervises until `stop`.
    pub(crate) fn start(self) -> (SourceHandle, impl Future<Output = ()> + Send + 'static) {
        let handle = SourceHandle {
            name: self.info.name.clone(),
            connector: self.connector.name,
            status: Status::default(),
            paused: self.paused.clone(),
            restart: Arc::new(Notify::new()),
            stop: self.stop.clone(),
            controls: Arc::default(),
            door: Arc::new(Door::new(self.admission.clone())),
        };
        (handle.clone(), self.supervise(handle))
    }

    async fn supervise(self, handle: SourceHandle) {
        let mut pause = BACKOFF.0;
        while !self.stop.is_cancelled() {
            handle.status.set(State::Starting);
            let started = Instant::now();
            let ended = self.run_once(&handle).await;
            if started.elapsed() >= GOOD_RUN {
                pause = BACKOFF.0;
            }
            match ended {
                Ended::Stopped => break,
                Ended::Restart => pause = BACKOFF.0,
                Ended::Failed(SourceError::Fatal { message, .. }) => {
                    tracing::error!(source = %self.info.name, message, "source stopped until it is restarted");
                    handle.status.set(State::Failed(message));
                    tokio::select! {
                        () = self.stop.cancelled() => break,
                        () = handle.restart.notified() => pause = BACKOFF.0,
                    }
                }
                Ended::Failed(SourceError::Retriable { message, .. }) => {
                    tracing::warn!(source = %self.info.name, message, ?pause, "source failed and is started again");
                    metrics::counter!("headgate_source_restarts_total", "source" => self.info.name.to_string()).increment(1);
                    handle.status.set(State::Restarting(message));
                    tokio::select! {
                        () = self.stop.cancelled() => break,
                        () = handle.restart.notified() => {}
                        () = tokio::time::sleep(pause.mul_f64(0.5 + fastrand::f64() / 2.0)) => {}
                    }
                    pause = (pause * 2).min(BACKOFF.1);
                }
            }
        }
        handle.status.set(State::Stopped);
    }

    /// One run, in a task of its own, so that a panic is one source's failure.
    async fn run_once(&self, handle: &SourceHandle) -> Ended {
        let source = match (self.connector.build)(self.keys.expose().clone(), &self.info) {
            Ok(source) => source,
            Err(error) => return Ended::Failed(SourceError::fatal(error.to_string())),
        };
        if let Err(error) = tokio::fs::create_dir_all(&self.scratch).await {
            let message = format!(
                "its folder `{}` cannot be made: {error}",
                self.scratch.display()
            );
            return Ended::Failed(SourceError::retriable(message));
        }
        let (queue, controls) = mpsc::channel(CONTROL_QUEUE);
        *handle.controls.lock() = Some(queue);
        let shutdown = self.stop.child_token();
        let mut run = tokio::spawn(source.run(SourceContext {
            source: self.info.clone(),
            lanes: self.lanes.clone(),
            http: self.http.clone(),
            admission: Admission::new(handle.door.clone()),
            control: Controls::new(controls),
            blobs: Arc::clone(&self.blobs),
            scratch: self.scratch.clone(),
            status: handle.status.clone(),
            shutdown: shutdown.clone(),
        }));
        let mut broken = self.broken.subscribe();
        let (ended, asked) = tokio::select! {
            ended = &mut run => (ended, None),
            () = handle.restart.notified() => {
                shutdown.cancel();
                (run.await, Some(Ended::Restart))
            }
            Ok(()) = broken.changed() => {
                shutdown.cancel();
                let why = broken.borrow_and_update().to_string();
                (run.await, Some(Ended::Failed(SourceError::retriable(why))))
            }
        };
        handle.controls.lock().take();
        match (ended, asked) {
            (Ok(Ok(())), _) if self.stop.is_cancelled() => Ended::Stopped,
            (Ok(_), Some(asked)) => asked,
            (Ok(Ok(())), None) => Ended::Failed(SourceError::retriable(
                "it ended although nobody asked it to",
            )),
            (Ok(Err(error)), None) => Ended::Failed(error),
            (Err(panic), _) => Ended::Failed(SourceError::retriable(format!(
                "it panicked, which is a bug: {panic}"
            ))),
        }
    }
}
