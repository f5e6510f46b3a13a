//! HTTP for sources: they mount handlers on the gateway's listener and never open a port.

mod problem;

pub use problem::Problem;

use std::{net::SocketAddr, sync::Arc};

use futures::future::BoxFuture;

pub use axum_core::{body::Body, extract::Request, response::Response};

/// Answers requests of a mounted path. Reads the body itself, so that it decides about limits.
pub trait Handler: Send + Sync + 'static {
    /// Answers one request, which came from `peer`.
    fn handle(&self, request: Request, peer: &Arc<Peer>) -> BoxFuture<'static, Response>;
}

/// The connection that a request came on.
#[derive(Debug, Clone)]
pub struct Peer {
    /// The address at the other end: a client or the last proxy.
    pub address: SocketAddr,
    /// Whether the connection is TLS.
    pub tls: bool,
    /// Subject of the verified client certificate, with mTLS.
    pub certificate_subject: Option<Arc<str>>,
}

/// Where paths are mounted.
pub trait MountTable: Send + Sync + 'static {
    /// Mounts `handler` at exactly `path`.
    ///
    /// # Errors
    /// [`MountError`] if something is mounted there.
    fn mount(&self, path: &str, handler: Arc<dyn Handler>) -> Result<(), MountError>;
    /// Takes it away.
    fn unmount(&self, path: &str);
}

/// A source's access to the gateway's listener.
#[derive(Clone)]
pub struct Mounts(Arc<dyn MountTable>);

impl Mounts {
    /// Mounts in `table`.
    #[must_use]
    pub fn new(table: Arc<dyn MountTable>) -> Self {
        Self(table)
    }

    /// Mounts `handler` at exactly `path` (`/webhook/github`) until the guard is dropped. Until a source has mounted its
    /// paths, and after, the gateway answers 503 for paths it knows from the configuration and 404 for all others.
    ///
    /// # Errors
    /// [`MountError`] if the path is taken.
    pub fn mount(&self, path: &str, handler: Arc<dyn Handler>) -> Result<MountGuard, MountError> {
        self.0.mount(path, handler)?;
        Ok(MountGuard {
            table: Arc::clone(&self.0),
            path: path.to_owned(),
        })
    }
}

/// Keeps a path mounted.
#[must_use = "the path is unmounted when the guard is dropped"]
pub struct MountGuard {
    table: Arc<dyn MountTable>,
    path: String,
}

impl Drop for MountGuard {
    fn drop(&mut self) {
        self.table.unmount(&self.path);
    }
}

/// A path is taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("path `{path}` is already mounted: give one of the two sources another `path:`")]
pub struct MountError {
    /// Which.
    pub path: String,
}
