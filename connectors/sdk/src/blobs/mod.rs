//! The claim-check store: payloads too large for an envelope lie here, content-addressed, and `dataref` points at them.

mod folder;
mod staging;

pub use folder::FolderStore;
pub use staging::{Staged, Staging};

use futures::future::BoxFuture;
use tokio::io::AsyncRead;

use crate::Str;

/// Keeps payloads under the hash of their content. The same bytes are stored once.
pub trait BlobStore: Send + Sync + 'static {
    /// Stores everything that `content` yields. When it returns, the blob is durable. Cancelling leaves at most a temporary file,
    /// which is removed at the next start.
    ///
    /// # Errors
    /// [`BlobError`]; nothing is stored under the hash then.
    fn put<'a>(
        &'a self,
        content: &'a mut (dyn AsyncRead + Send + Unpin),
    ) -> BoxFuture<'a, Result<BlobRef, BlobError>>;
}

/// A stored payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobRef {
    /// For `dataref`: a URI that consumers can open (`file:///…`, `s3://…`).
    pub uri: Str,
    /// BLAKE3 of the content, 64 hex digits.
    pub hash: Str,
    /// Its length.
    pub bytes: u64,
}

/// Why a payload was not stored.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// The content could not be read.
    #[error("reading the payload failed")]
    Read(#[source] std::io::Error),
    /// The store could not write it.
    #[error(
        "storing a payload in `{place}` failed: check that it exists, is writable and has room"
    )]
    Write {
        /// Where.
        place: String,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
}
