//! Requests that were refused, kept for the day on which the secret is mended. They are never forwarded from here unverified.
//!
//! One file a request in `scratch/quarantine`; the oldest make room.

use std::{
    collections::VecDeque,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use headgate_sdk::{Timestamp, control::ControlError};
use http::{HeaderMap, HeaderName, HeaderValue, request::Parts};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::{
    OnInvalid, QuarantineRule, body,
    event::Delivery,
    handler,
    intake::{Decision, Endpoint},
};
use crate::verify::Incoming;

/// A refused request.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Refused {
    tenant: String,
    received_ns: i128,
    method: String,
    path_and_query: String,
    /// Scheme and host that a trusted proxy named.
    #[serde(default)]
    forwarded: Option<String>,
    headers: Vec<(String, String)>,
    body: String,
}

/// The refused requests of a source.
pub(super) struct Quarantine {
    folder: PathBuf,
    rule: QuarantineRule,
    enabled: bool,
    next: AtomicU64,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    files: VecDeque<(String, u64)>,
    bytes: u64,
}

impl Refused {
    pub(super) fn new(
        endpoint: &Endpoint,
        head: &Parts,
        forwarded: Option<String>,
        body: &Bytes,
        received: Timestamp,
    ) -> Option<Self> {
        (endpoint.config.on_invalid == OnInvalid::Quarantine).then(|| Self {
            tenant: endpoint.tenant.to_string(),
            received_ns: received.as_nanosecond(),
            method: head.method.to_string(),
            path_and_query: handler::path_and_query(head).to_owned(),
            forwarded,
            headers: head
                .headers
                .iter()
                .map(|(name, value)| (name.to_string(), STANDARD.encode(value.as_bytes())))
                .collect(),
            body: STANDARD.encode(body),
        })
    }

    fn headers(&self) -> Option<HeaderMap> {
        self.headers
            .iter()
            .map(|(name, value)| {
                let value = HeaderValue::from_bytes(&STANDARD.decode(value).ok()?).ok()?;
                Some((HeaderName::try_from(name).ok()?, value))
            })
            .collect()
    }
}

impl Quarantine {
    /// Finds what was kept before. Reads the folder's names only.
    pub(super) fn open(
        folder: PathBuf,
        rule: QuarantineRule,
        enabled: bool,
    ) -> std::io::Result<Self> {
        let mut kept = Kept::default();
        if enabled {
            std::fs::create_dir_all(&folder)?;
        }
        if folder.is_dir() {
            let mut files = Vec::new();
            for entry in std::fs::read_dir(&folder)? {
                let entry = entry?;
                files.push((
                    entry.file_name().to_string_lossy().into_owned(),
                    entry.metadata()?.len(),
                ));
            }
            files.sort();
            kept.bytes = files.iter().map(|(_, bytes)| bytes).sum();
            kept.files = files.into();
        }
        Ok(Self {
            folder,
            rule,
            enabled,
            next: AtomicU64::new(0),
            kept: Mutex::new(kept),
        })
    }

    /// Keeps a request, if it is one to keep; drops the oldest for it. Failing to is logged: the sender got its 401 anyway.
    pub(super) async fn keep(&self, refused: Option<Refused>) {
        let Some(refused) = refused.filter(|_| self.enabled) else {
            return;
        };
        let content = serde_json::to_vec(&refused).expect("a request is plain data");
        let bytes = content.len() as u64;
        if bytes > self.rule.max_bytes.bytes() {
            return;
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let name = format!("{:020}-{number:06}.json", refused.received_ns);
        let mut kept = self.kept.lock().await;
        if let Err(error) = tokio::fs::write(self.folder.join(&name), content).await {
            tracing::warn!(folder = %self.folder.display(), %error, "a refused request could not be kept");
            return;
        }
        kept.files.push_back((name, bytes));
        kept.bytes += bytes;
        while kept.files.len() > self.rule.max_requests || kept.bytes > self.rule.max_bytes.bytes()
        {
            let Some((oldest, bytes)) = kept.files.pop_front() else {
                break;
            };
            kept.bytes -= bytes;
            let _gone = tokio::fs::remove_file(self.folder.join(oldest)).await;
        }
    }

    /// Verifies everything again, as of the time of its receipt; what passes goes on as if it had just come.
    pub(super) async fn recheck(
        &self,
        endpoints: &[Arc<Endpoint>],
        dry_run: bool,
    ) -> Result<Value, ControlError> {
        let names: Vec<(String, u64)> = self.kept.lock().await.files.iter().cloned().collect();
        let (mut accepted, mut refused, mut undecided) = (0_u64, 0_u64, 0_u64);
        for (name, _) in names {
            let path = self.folder.join(&name);
            let Ok(content) = tokio::fs::read(&path).await else {
                continue;
            };
            match recheck_one(endpoints, &content, dry_run).await {
                Some(true) => {
                    accepted += 1;
                    if !dry_run {
                        let _gone = tokio::fs::remove_file(&path).await;
                        let mut kept = self.kept.lock().await;
                        if let Some(at) = kept.files.iter().position(|(one, _)| *one == name)
                            && let Some((_, bytes)) = kept.files.remove(at)
                        {
                            kept.bytes -= bytes;
                        }
                    }
                }
                Some(false) => refused += 1,
                None => undecided += 1,
            }
        }
        Ok(json!({ "accepted": accepted, "refused": refused, "undecided": undecided }))
    }
}

async fn recheck_one(endpoints: &[Arc<Endpoint>], content: &[u8], dry_run: bool) -> Option<bool> {
    let kept: Refused = serde_json::from_slice(content).ok()?;
    let endpoint = endpoints
        .iter()
        .find(|endpoint| endpoint.tenant == kept.tenant.as_str())?;
    let headers = kept.headers()?;
    let wire = Bytes::from(STANDARD.decode(&kept.body).ok()?);
    let received = Timestamp::from_nanosecond(kept.received_ns).ok()?;
    let url = endpoint.url(&kept.path_and_query, kept.forwarded.as_deref());
    let incoming = |body| Incoming {
        method: &kept.method,
        url: url.as_deref(),
        path_and_query: &kept.path_and_query,
        headers: &headers,
        body,
    };
    let max = endpoint.config.max_inflated.as_usize();
    let inflated = body::inflate(&headers, &wire, max).ok()?;
    let mut decision = endpoint.decide(&incoming(&wire), received).await;
    if matches!(decision, Decision::Refused(_)) && inflated != wire {
        decision = endpoint.decide(&incoming(&inflated), received).await;
    }
    let verified = match decision {
        Decision::Verified(verified) => verified,
        Decision::Refused(_) => return Some(false),
        Decision::Undecided(_) => return None,
    };
    if dry_run {
        return Some(true);
    }
    let delivery = Delivery {
        incoming: incoming(&inflated),
        body: &inflated,
        received,
        verified: &verified,
    };
    let answer = handler::accept(endpoint, &delivery).await;
    let accepted = answer.is_ok_and(|answer| answer.status().is_success());
    accepted.then_some(true)
}
