//! Payloads in an S3 bucket: `{prefix}ab/cdef…`, the same bytes once.
//!
//! A payload is staged in a local file until its hash is known; up to one part it goes up in one request, else in parts, one after
//! the other. Memory: one part for each upload. What an interrupted upload left behind is aborted, or removed by the bucket's own rule
//! for incomplete uploads.

use std::{io, path::Path as FilePath, time::Duration};

use futures::future::BoxFuture;
use headgate_sdk::blobs::{BlobError, BlobRef, BlobStore, Staged, Staging};
use object_store::{
    Error, MultipartUpload, ObjectStoreExt as _, RetryConfig,
    aws::{AmazonS3, AmazonS3Builder},
    path::Path,
};
use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::{S3, open::OpenError};

/// The size of a part, and of the largest payload that goes up in one request.
const PART_BYTES: u64 = 8 << 20;

/// A request that fails is repeated so often, with growing pauses,
const RETRIES: usize = 3;
/// and within this time. Beyond it whoever has the payload waits, is seen to wait, and comes again.
const RETRY_TIME: Duration = Duration::from_secs(20);

/// S3 takes at most 10,000 parts.
const MAX_PARTS: u64 = 9_000;

/// See the module.
#[derive(Debug)]
pub(super) struct S3Store {
    store: AmazonS3,
    /// `s3://bucket`
    place: String,
    prefix: String,
    staging: Staging,
}

impl S3Store {
    /// A store in a bucket, which is not asked yet.
    pub(super) fn new(config: &S3, staging: &FilePath) -> Result<Self, OpenError> {
        let place = format!("s3://{}", config.bucket);
        let failed = |message: String| OpenError {
            place: place.clone(),
            message,
        };
        // Another part of the process may have chosen already.
        let _chosen = rustls::crypto::ring::default_provider().install_default();
        let mut builder = match (&config.access_key_id, &config.secret_access_key) {
            (Some(id), Some(secret)) => AmazonS3Builder::new()
                .with_access_key_id(id)
                .with_secret_access_key(secret.expose()),
            (None, None) => AmazonS3Builder::from_env(),
            _ => {
                let message = "write `access_key_id` and `secret_access_key` both, or neither";
                return Err(failed(message.into()));
            }
        };
        if let Some(endpoint) = &config.endpoint {
            builder = builder
                .with_endpoint(endpoint.trim_end_matches('/'))
                .with_allow_http(endpoint.starts_with("http://"));
        }
        let store = builder
            .with_bucket_name(&config.bucket)
            .with_region(&config.region)
            .with_retry(RetryConfig {
                max_retries: RETRIES,
                retry_timeout: RETRY_TIME,
                ..RetryConfig::default()
            })
            .build()
            .map_err(|error| failed(error.to_string()))?;
        Ok(Self {
            store,
            prefix: config.prefix.clone(),
            staging: Staging::new(staging),
            place,
        })
    }

    /// Removes what an interrupted run staged.
    pub(super) async fn prepare(&self) -> Result<(), BlobError> {
        self.staging.prepare().await
    }

    async fn store(
        &self,
        content: &mut (dyn AsyncRead + Send + Unpin),
    ) -> Result<BlobRef, BlobError> {
        let staged = self.staging.stage(content).await?;
        let (folder, name) = staged.hash.split_at(2);
        let key = Path::from(format!("{}{folder}/{name}", self.prefix));
        match self.store.head(&key).await {
            Ok(there) if there.size == staged.bytes => {}
            Ok(_) | Err(Error::NotFound { .. }) => self.upload(&key, &staged).await?,
            Err(error) => return Err(self.failed(error)),
        }
        Ok(BlobRef {
            uri: format!("{}/{key}", self.place).into(),
            hash: staged.hash.clone(),
            bytes: staged.bytes,
        })
    }

    async fn upload(&self, key: &Path, staged: &Staged) -> Result<(), BlobError> {
        let opened = tokio::fs::File::open(staged.path()).await;
        let mut file = opened.map_err(BlobError::Read)?;
        if staged.bytes <= PART_BYTES {
            let whole = read_part(&mut file, PART_BYTES).await?;
            let put = self.store.put(key, whole.into()).await;
            return put.map(|_| ()).map_err(|error| self.failed(error));
        }
        let begun = self.store.put_multipart(key).await;
        let mut upload = begun.map_err(|error| self.failed(error))?;
        let sent = self
            .send_parts(upload.as_mut(), &mut file, staged.bytes)
            .await;
        if sent.is_err() {
            let _the_bucket_s_rule_removes_it = upload.abort().await;
        }
        sent
    }

    async fn send_parts(
        &self,
        upload: &mut dyn MultipartUpload,
        file: &mut tokio::fs::File,
        bytes: u64,
    ) -> Result<(), BlobError> {
        let part_bytes = PART_BYTES.max(bytes / MAX_PARTS + 1);
        loop {
            let part = read_part(file, part_bytes).await?;
            if part.is_empty() {
                break;
            }
            let sent = upload.put_part(part.into()).await;
            sent.map_err(|error| self.failed(error))?;
        }
        let completed = upload.complete().await;
        completed.map(|_| ()).map_err(|error| self.failed(error))
    }

    fn failed(&self, error: Error) -> BlobError {
        BlobError::Write {
            place: self.place.clone(),
            source: io::Error::other(error),
        }
    }
}

impl BlobStore for S3Store {
    fn put<'a>(
        &'a self,
        content: &'a mut (dyn AsyncRead + Send + Unpin),
    ) -> BoxFuture<'a, Result<BlobRef, BlobError>> {
        Box::pin(self.store(content))
    }
}

async fn read_part(file: &mut tokio::fs::File, bytes: u64) -> Result<Vec<u8>, BlobError> {
    let mut part = Vec::new();
    let read = file.take(bytes).read_to_end(&mut part).await;
    read.map_err(BlobError::Read)?;
    Ok(part)
}

#[cfg(test)]
mod tests;
