//! What a source under test runs in.

use std::{
    collections::HashMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde_json::Value;
use tokio::{
    sync::mpsc,
    task::{JoinError, JoinHandle},
};
use tokio_util::sync::CancellationToken;

use super::MemoryLanes;
use crate::{
    BuildError, Connector, Lanes, Source, SourceContext, SourceError, SourceInfo, Str,
    admission::Admission,
    blobs::FolderStore,
    control::{Control, ControlError, Controls},
    http::{Body, Handler, MountError, MountTable, Mounts, Peer, Request, Response},
    status::Status,
};

/// Lanes in memory, a table of mounted paths, and a folder; they outlive the runs of a source, as a gateway's do.
pub struct World {
    /// Where batches go.
    pub lanes: MemoryLanes,
    mounts: Arc<MountedPaths>,
    folder: tempfile::TempDir,
}

#[derive(Default)]
struct MountedPaths(Mutex<HashMap<String, Arc<dyn Handler>>>);

impl World {
    /// A world whose lanes let at most `capacity` bytes be under way.
    ///
    /// # Panics
    /// If no temporary folder can be made.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self {
            lanes: MemoryLanes::new(capacity),
            mounts: Arc::default(),
            folder: tempfile::tempdir().expect("a temporary folder can be made"),
        }
    }

    /// A folder that is removed with the world.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The source's folder for what need not outlive it.
    #[must_use]
    pub fn scratch(&self) -> PathBuf {
        self.folder.path().join("scratch")
    }

    /// Sends a request, from 203.0.113.7, to whatever is mounted at its path; 503 if nothing is.
    pub async fn request(&self, request: Request) -> Response {
        let handler = self.mounts.paths().get(request.uri().path()).cloned();
        match handler {
            Some(handler) => {
                let peer = Peer {
                    address: SocketAddr::from(([203, 0, 113, 7], 4711)),
                    tls: false,
                    certificate_subject: None,
                };
                handler.handle(request, &Arc::new(peer)).await
            }
            None => {
                let mut response = Response::new(Body::empty());
                *response.status_mut() = http::StatusCode::SERVICE_UNAVAILABLE;
                response
            }
        }
    }

    /// Starts a source.
    ///
    /// # Errors
    /// [`BuildError`] if the configuration is refused.
    pub fn start<C: Connector>(&self, config: Value) -> Result<Run, BuildError> {
        self.start_on::<C>(Lanes::new(Arc::new(self.lanes.clone())), config)
    }

    /// Starts a source whose batches go elsewhere, such as to [`NullLanes`](super::NullLanes).
    ///
    /// # Errors
    /// [`BuildError`] if the configuration is refused.
    pub fn start_on<C: Connector>(&self, lanes: Lanes, config: Value) -> Result<Run, BuildError> {
        let info = self.info::<C>();
        let config = serde_json::from_value(config)
            .map_err(|error| BuildError::new("", error.to_string()))?;
        let source = C::build(config, &info)?;
        let shutdown = CancellationToken::new();
        let (controls, queue) = mpsc::channel(16);
        let status = Status::default();
        let cx = SourceContext {
            source: info,
            lanes,
            http: Mounts::new(self.mounts.clone()),
            admission: Admission::unlimited(),
            control: Controls::new(queue),
            blobs: Arc::new(FolderStore::new(self.folder.path().join("blobs"))),
            scratch: self.scratch(),
            status: status.clone(),
            shutdown: shutdown.clone(),
        };
        std::fs::create_dir_all(&cx.scratch).expect("the temporary folder is writable");
        Ok(Run {
            task: tokio::spawn(source.run(cx)),
            shutdown,
            controls,
            status,
        })
    }

    /// Who the source is in this world.
    #[must_use]
    pub fn info<C: Connector>(&self) -> SourceInfo {
        SourceInfo {
            name: Str::new_static("subject"),
            tenant: Str::new_static("default"),
            urn: format!("urn:headgate:default:{}:subject", C::NAME).into(),
            group: Str::new_static("conformance"),
            instance: Str::new_static("0"),
            public_url: None,
        }
    }
}

/// A running source.
pub struct Run {
    task: JoinHandle<Result<(), SourceError>>,
    shutdown: CancellationToken,
    controls: mpsc::Sender<Control>,
    /// What it says about itself.
    pub status: Status,
}

impl Run {
    /// Asks it to stop and waits until it has.
    ///
    /// # Errors
    /// What it returned.
    ///
    /// # Panics
    /// If it panicked or takes longer than `within`.
    pub async fn stop(self, within: Duration) -> Result<(), SourceError> {
        self.shutdown.cancel();
        let ended = tokio::time::timeout(within, self.task).await;
        ended
            .unwrap_or_else(|_| panic!("the source did not stop within {within:?}"))
            .expect("the source did not panic")
    }

    /// Aborts it in the middle of whatever it does, and waits until it is gone.
    pub async fn kill(self) {
        self.task.abort();
        let _ended: Result<_, JoinError> = self.task.await;
    }

    /// Whether it has ended by itself.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.task.is_finished()
    }

    /// Waits until it ends by itself.
    ///
    /// # Errors
    /// What it returned.
    ///
    /// # Panics
    /// If it panicked.
    pub async fn ended(self) -> Result<(), SourceError> {
        self.task.await.expect("the source did not panic")
    }

    /// Sends it a command and waits for the answer.
    ///
    /// # Errors
    /// What it answered, or that it is gone.
    pub async fn control(&self, action: &str, arguments: Value) -> Result<Value, ControlError> {
        let gone = || ControlError::Failed("the source is gone".into());
        let (control, answer) = Control::new(action, arguments);
        self.controls.send(control).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

impl MountedPaths {
    fn paths(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<dyn Handler>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl MountTable for MountedPaths {
    fn mount(&self, path: &str, handler: Arc<dyn Handler>) -> Result<(), MountError> {
        let mut paths = self.paths();
        if paths.contains_key(path) {
            return Err(MountError {
                path: path.to_owned(),
            });
        }
        paths.insert(path.to_owned(), handler);
        Ok(())
    }

    fn unmount(&self, path: &str) {
        self.paths().remove(path);
    }
}
