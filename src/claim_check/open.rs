//! From the configuration to a store.

use std::{path::Path, sync::Arc};

use headgate_sdk::blobs::{BlobStore, FolderStore};

use super::ClaimCheck;

/// Why there is no claim-check store.
#[derive(Debug, thiserror::Error)]
#[error("the claim-check store `{place}` cannot be used: {message}")]
pub struct OpenError {
    /// The folder or bucket.
    pub place: String,
    /// What is wrong and what to do.
    pub message: String,
}

/// Opens the configured store. `folder` is where payloads lie unless something else is configured, and where they are staged on
/// their way to a bucket.
///
/// # Errors
/// [`OpenError`]. A bucket is not asked: a store that cannot be reached now may be later.
pub async fn open(config: &ClaimCheck, folder: &Path) -> Result<Arc<dyn BlobStore>, OpenError> {
    if let Some(bucket) = &config.s3 {
        return open_bucket(bucket, folder).await;
    }
    let folder = config.folder.as_deref().unwrap_or(folder);
    let failed = |message: String| OpenError {
        place: folder.display().to_string(),
        message,
    };
    let folder = std::path::absolute(folder).map_err(|error| failed(error.to_string()))?;
    let store = FolderStore::new(folder);
    let prepared = store.prepare().await;
    prepared.map_err(|error| failed(error.to_string()))?;
    Ok(Arc::new(store))
}

#[cfg(feature = "s3")]
async fn open_bucket(bucket: &super::S3, staging: &Path) -> Result<Arc<dyn BlobStore>, OpenError> {
    let store = super::s3::S3Store::new(bucket, &staging.join("staging"))?;
    store.prepare().await.map_err(|error| OpenError {
        place: staging.display().to_string(),
        message: error.to_string(),
    })?;
    Ok(Arc::new(store))
}

#[cfg(not(feature = "s3"))]
async fn open_bucket(bucket: &super::S3, _staging: &Path) -> Result<Arc<dyn BlobStore>, OpenError> {
    Err(OpenError {
        place: format!("s3://{}", bucket.bucket),
        message: "this build does not speak S3: build with the feature `s3`, or use `folder`"
            .into(),
    })
}
