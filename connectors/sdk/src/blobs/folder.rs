//! Blobs in a folder: `ab/cdef…`, written to a temporary name, synced, then renamed.

use std::{
    io,
    path::{Path, PathBuf},
};

use futures::future::BoxFuture;
use tokio::{fs, io::AsyncRead};

use super::{BlobError, BlobRef, BlobStore, Staging};

/// A claim-check store in a local folder, or one on a network share that all consumers mount.
#[derive(Debug)]
pub struct FolderStore {
    root: PathBuf,
    staging: Staging,
}

impl FolderStore {
    /// A store in `root`, an absolute path; folders are created when first needed.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>) -> Self {
        let root = root.into();
        Self {
            staging: Staging::new(root.join("staging")),
            root,
        }
    }

    /// Creates the folder and removes what an interrupted write left behind. Call once, before anything is put.
    ///
    /// # Errors
    /// [`BlobError::Write`] if the folder cannot be made or listed.
    pub async fn prepare(&self) -> Result<(), BlobError> {
        self.staging.prepare().await
    }

    async fn store(
        &self,
        content: &mut (dyn AsyncRead + Send + Unpin),
    ) -> Result<BlobRef, BlobError> {
        let staged = self.staging.stage(content).await?;
        let hash = &staged.hash;
        let folder = self.root.join(&hash[..2]);
        let target = folder.join(&hash[2..]);
        if !fs::try_exists(&target)
            .await
            .map_err(|error| self.failed(error))?
        {
            let synced = staged.file.sync_all().await;
            synced.map_err(|error| self.failed(error))?;
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
            fs::rename(staged.path(), &target)
                .await
                .map_err(|error| self.failed(error))?;
            sync_folder(&folder)
                .await
                .map_err(|error| self.failed(error))?;
        }
        Ok(BlobRef {
            uri: file_uri(&target).into(),
            hash: hash.clone(),
            bytes: staged.bytes,
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
