//! Payloads on their way into a store: only when all of one is read is its hash known, and so its name.

use std::{
    io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use tokio::{
    fs,
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
};

use super::BlobError;
use crate::Str;

const CHUNK_BYTES: usize = 64 * 1024;

/// A local folder that holds payloads until they are stored.
#[derive(Debug)]
pub struct Staging {
    folder: PathBuf,
    next: AtomicU64,
}

/// A payload in a file of its own, written and not yet synced. The file is removed when this is dropped, unless it was renamed.
#[derive(Debug)]
pub struct Staged {
    path: PathBuf,
    /// Opened for writing.
    pub file: fs::File,
    /// BLAKE3 of the content, 64 hex digits.
    pub hash: Str,
    /// Its length.
    pub bytes: u64,
}

impl Staging {
    /// Stages in `folder`, which is created when first needed.
    #[must_use]
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            next: AtomicU64::new(0),
        }
    }

    /// Creates the folder and removes what an interrupted write left behind. Call once, before anything is staged.
    ///
    /// # Errors
    /// [`BlobError::Write`] if the folder cannot be made or emptied.
    pub async fn prepare(&self) -> Result<(), BlobError> {
        match fs::remove_dir_all(&self.folder).await {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(self.failed(error)),
        }
        fs::create_dir_all(&self.folder)
            .await
            .map_err(|error| self.failed(error))
    }

    /// Writes everything that `content` yields into a file. Cancelling removes it.
    ///
    /// # Errors
    /// [`BlobError`].
    pub async fn stage(
        &self,
        content: &mut (dyn AsyncRead + Send + Unpin),
    ) -> Result<Staged, BlobError> {
        let failed = |error| self.failed(error);
        fs::create_dir_all(&self.folder).await.map_err(failed)?;
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let path = self.folder.join(format!("{}-{number}", std::process::id()));
        let file = fs::File::create(&path).await.map_err(failed)?;
        let mut staged = Staged {
            path,
            file,
            hash: Str::default(),
            bytes: 0,
        };
        let mut hasher = blake3::Hasher::new();
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            let read = content.read(&mut chunk).await.map_err(BlobError::Read)?;
            if read == 0 {
                break;
            }
            hasher.update(&chunk[..read]);
            staged.bytes += read as u64;
            let written = staged.file.write_all(&chunk[..read]).await;
            written.map_err(failed)?;
        }
        staged.file.flush().await.map_err(failed)?;
        staged.hash = hasher.finalize().to_hex().as_str().into();
        Ok(staged)
    }

    fn failed(&self, source: io::Error) -> BlobError {
        BlobError::Write {
            place: self.folder.display().to_string(),
            source,
        }
    }
}

impl Staged {
    /// Where the file lies.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        let _renamed = std::fs::remove_file(&self.path);
    }
}
