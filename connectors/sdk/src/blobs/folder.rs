//! Blobs in a folder: `ab/cdef…`, written to a temporary name, synced, then renamed.

use std::{
    io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use futures::future::BoxFuture;
use tokio::{
    fs,
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
};

use super::{BlobError, BlobRef, BlobStore};

const CHUNK_BYTES: usize = 64 * 1024;

/// A claim-check store in a local folder, or one on a network share that all consumers mount.
#[derive(Debug)]
pub struct FolderStore {
    root: PathBuf,
    next: AtomicU64,
}

impl FolderStore {
    /// A store in `root`, an absolute path; folders are created when first needed.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            next: AtomicU64::new(0),
        }
    }

    /// Creates the folder and removes what an interrupted write left behind. Call once, before anything is put.
    ///
    /// # Errors
    /// [`BlobError::Write`] if the folder cannot be made or listed.
    pub async fn prepare(&self) -> Result<(), BlobError> {
        let staging = self.root.join("staging");
        match fs::remove_dir_all(&staging).await {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(self.failed(error)),
        }
        fs::create_dir_all(&staging)
            .await
            .map_err(|error| self.failed(error))
    }

    async fn store(
        &self,
        content: &mut (dyn AsyncRead + Send + Unpin),
    ) -> Result<BlobRef, BlobError> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let staging = self.root.join("staging");
        fs::create_dir_all(&staging)
            .await
            .map_err(|error| self.failed(error))?;
        let temporary = Temporary(staging.join(format!("{}-{number}", std::process::id())));
        let mut file = fs::File::create(&temporary.0)
            .await
            .map_err(|error| self.failed(error))?;
        let mut hasher = blake3::Hasher::new();
        let mut bytes = 0;
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            let read = content.read(&mut chunk).await.map_err(BlobError::Read)?;
            if read == 0 {
                break;
            }
            hasher.update(&chunk[..read]);
            bytes += read as u64;
            file.write_all(&chunk[..read])
                .await
                .map_err(|error| self.failed(error))?;
        }
        let hash = hasher.finalize().to_hex();
        let folder = self.root.join(&hash[..2]);
        let target = folder.join(&hash[2..]);
        if !fs::try_exists(&target)
            .await
            .map_err(|error| self.failed(error))?
        {
            file.sync_all().await.map_err(|error| self.failed(error))?;
            if !fs::try_exists(&folder)
                .await
                .map_err(|error| self.failed(error))?
            {
                fs::create_dir_all(&folder)
                    .await
                    .map_err(|error| self.failed(error))?;
                sync_folder(&self.root)
                    .await
                    .map_err(|error| self.failed(error))?;
            }
            fs::rename(&temporary.0, &target)
                .await
                .map_err(|error| self.failed(error))?;
            sync_folder(&folder)
                .await
                .map_err(|error| self.failed(error))?;
        }
        Ok(BlobRef {
            uri: file_uri(&target).into(),
            hash: hash.as_str().into(),
            bytes,
        })
    }

    fn failed(&self, source: io::Error) -> BlobError {
        BlobError::Write {
            place: self.root.display().to_string(),
            source,
        }
    }
}

impl BlobStore for FolderStore {
    fn put<'a>(
        &'a self,
        content: &'a mut (dyn AsyncRead + Send + Unpin),
    ) -> BoxFuture<'a, Result<BlobRef, BlobError>> {
        Box::pin(self.store(content))
    }
}

/// Removes a staged file that was not renamed.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        let _renamed = std::fs::remove_file(&self.0);
    }
}

async fn sync_folder(folder: &Path) -> io::Result<()> {
    fs::File::open(folder).await?.sync_all().await
}

/// `file://` URI of an absolute path, RFC 8089; bytes outside the unreserved set are percent-encoded.
fn file_uri(path: &Path) -> String {
    use std::{fmt::Write as _, os::unix::ffi::OsStrExt as _};
    let mut uri = String::from("file://");
    for &byte in path.as_os_str().as_bytes() {
        if byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte) {
            uri.push(byte as char);
        } else {
            let _infallible = write!(uri, "%{byte:02X}");
        }
    }
    uri
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn same_bytes_are_stored_once_and_readable_by_uri() {
        let folder = tempfile::tempdir().unwrap();
        let store = FolderStore::new(folder.path());
        store.prepare().await.unwrap();
        let first = store.put(&mut &b"invoice"[..]).await.unwrap();
        let second = store.put(&mut &b"invoice"[..]).await.unwrap();
        assert_eq!(first, second);
        assert_eq!(first.bytes, 7);
        assert_eq!(first.hash, blake3::hash(b"invoice").to_hex().as_str());
        let path = first.uri.strip_prefix("file://").unwrap();
        assert_eq!(std::fs::read(path).unwrap(), b"invoice");
        assert_eq!(
            std::fs::read_dir(folder.path().join("staging"))
                .unwrap()
                .count(),
            0
        );
    }

    #[tokio::test]
    async fn prepare_removes_what_a_crash_left() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("staging")).unwrap();
        std::fs::write(folder.path().join("staging/1-0"), b"half").unwrap();
        FolderStore::new(folder.path()).prepare().await.unwrap();
        assert_eq!(
            std::fs::read_dir(folder.path().join("staging"))
                .unwrap()
                .count(),
            0
        );
    }
}
