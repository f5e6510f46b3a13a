//! What a running source may use.

use std::{path::PathBuf, sync::Arc};

use tokio_util::sync::CancellationToken;

use crate::{
    Lanes, Str, admission::Admission, blobs::BlobStore, control::Controls, http::Mounts,
    status::Status,
};

/// Who a source is.
#[derive(Debug, Clone)]
pub struct SourceInfo {
    /// Its name in the configuration.
    pub name: Str,
    /// Its tenant, `default` if none is configured.
    pub tenant: Str,
    /// `urn:headgate:{tenant}:{connector}:{name}`.
    pub urn: Str,
    /// `group:` of the configuration: prefixes whatever the source creates elsewhere (slots, consumer groups).
    pub group: Str,
    /// The instance, created once inside `data_dir`.
    pub instance: Str,
    /// The URL under which the outside world reaches this gateway, if configured.
    pub public_url: Option<Str>,
}

/// Everything the gateway lends to one run of a source.
pub struct SourceContext {
    /// Who it is.
    pub source: SourceInfo,
    /// Opens its lanes.
    pub lanes: Lanes,
    /// Mounts its HTTP handlers on the gateway's listener.
    pub http: Mounts,
    /// Asks the limits at the door.
    pub admission: Admission,
    /// Commands from the operator.
    pub control: Controls,
    /// Claim-check store.
    pub blobs: Arc<dyn BlobStore>,
    /// A directory of its own inside `data_dir`, kept across restarts; what lies in it is the source's business.
    pub scratch: PathBuf,
    /// State and warnings for `/readyz` and `headgate status`.
    pub status: Status,
    /// Cancelled when the source must stop.
    pub shutdown: CancellationToken,
}
