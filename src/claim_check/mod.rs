//! Where payloads lie that events only refer to: a folder (`data_dir/blobs` unless another one is named), or an S3 bucket.
//!
//! The sources put payloads under the hash of their content and send the URI along; nothing here is ever removed. Invariant: what
//! [`put`](headgate_sdk::blobs::BlobStore::put) returned is durable in the store.

mod config;
mod open;
#[cfg(feature = "s3")]
mod s3;

pub use config::{ClaimCheck, S3};
pub use open::{OpenError, open};
