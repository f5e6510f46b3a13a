//! A source's life: lanes and endpoints, mounted until it is told to stop.

use std::{path::Path, sync::Arc};

use headgate_sdk::{LaneSpec, Replay, Source, SourceContext, SourceError, Str, status::State};
use tokio_util::task::TaskTracker;

use super::{
    Acknowledge, Config, DedupFrom, OnInvalid, WebhookSource,
    crowd::Crowd,
    dedup::Seen,
    doors::warnings,
    failures::Failures,
    handler::Webhook,
    handshake::Learned,
    intake::{Endpoint, Outcomes, UniqueIds},
    keys::Remote,
    quarantine::Quarantine,
};
use crate::verify::Verifier;

impl Source for WebhookSource {
    async fn run(self, mut cx: SourceContext) -> Result<(), SourceError> {
        let endpoints = self.endpoints(&cx).await?;
        let mut guards = Vec::new();
        for (door, endpoint) in self.doors.iter().zip(&endpoints) {
            let handler = Arc::new(Webhook(Arc::clone(endpoint)));
            let guard = cx
                .http
                .mount(&door.path, handler)
                .map_err(|error| SourceError::fatal(error.to_string()))?;
            guards.push(guard);
        }
        for warning in warnings(&self.config, &cx.source) {
            cx.status
                .warn(warning.pointer.trim_matches('/'), warning.message);
        }
        cx.status.set(State::Ready);
        loop {
            tokio::select! {
                () = cx.shutdown.cancelled() => break,
                () = revoked(&endpoints) => break,
                control = cx.control.next() => match control.action.as_str() {
                    "recheck" => {
                        let dry_run = control.arguments.get("dry_run").and_then(serde_json::Value::as_bool).unwrap_or(false);
                        let answer = match endpoints.first() {
                            Some(first) => first.quarantine.recheck(&endpoints, dry_run).await,
                            None => Ok(serde_json::json!({})),
                        };
                        control.reply(answer);
                    }
                    _ => control.unknown(),
                },
            }
        }
        drop(guards);
        finish(&self.config, &endpoints).await;
        Ok(())
    }
}

impl WebhookSource {
    async fn endpoints(&self, cx: &SourceContext) -> Result<Vec<Arc<Endpoint>>, SourceError> {
        let config = &self.config;
        let tracker = TaskTracker::new();
        let remote = Remote::new(&self.net, tracker.clone()).map_err(SourceError::retriable)?;
        let quarantine = open_quarantine(config, &cx.scratch)?;
        let crowd = Arc::new(Crowd::new(config.max_concurrent));
        let mut endpoints = Vec::new();
        for door in &self.doors {
            let tenant = door
                .tenant
                .as_ref()
                .map_or_else(|| cx.source.tenant.clone(), |name| Str::from(name.as_str()));
            let lane = cx
                .lanes
                .open(LaneSpec {
                    name: door.tenant.as_deref().map(Str::from).unwrap_or_default(),
                    tenant: tenant.clone(),
                    class: Str::new_static("default"),
                    replay: match config.ack {
                        Acknowledge::Journal => Replay::FromJournal,
                        Acknowledge::Sink => Replay::FromSender,
                    },
                })
                .await?;
            let seen =
                Seen::restore(&lane, config.dedup.window.get(), config.dedup.max_ids).await?;
            let learned = Arc::new(Learned::load(cx.scratch.join("learned-secrets.json")));
            let scheme = config.resolved_scheme();
            let verifier = match (door.tenant.is_none(), scheme) {
                (true, Some(scheme)) => Verifier::new(scheme, &learned.with(door.keys.clone()))
                    .ok()
                    .map(Arc::new),
                _ => None,
            };
            let preset = config.preset();
            endpoints.push(Arc::new(Endpoint {
                preset,
                scheme_name: self.scheme_name.clone(),
                source_name: cx.source.name.clone(),
                urn: match &door.tenant {
                    None => cx.source.urn.clone(),
                    Some(tenant) => {
                        Str::from(format!("urn:headgate:{tenant}:webhook:{}", cx.source.name))
                    }
                },
                tenant,
                verifier: std::sync::RwLock::new(verifier.or_else(|| door.verifier.clone())),
                params: door.keys.params.clone(),
                dedup: dedup_from(config),
                seen,
                lane,
                public_url: config
                    .public_url
                    .clone()
                    .or_else(|| cx.source.public_url.as_ref().map(Str::to_string)),
                methods: self.methods.clone(),
                handshakes: preset
                    .map(|preset| preset.handshakes.clone())
                    .unwrap_or_default()
                    .into_iter()
                    .chain(config.handshakes.iter().copied())
                    .collect(),
                allow: self.allow.clone(),
                trusted: self.trusted.clone(),
                admission: cx.admission.clone(),
                failures: config.unverified_limit.map(Failures::new),
                crowd: Arc::clone(&crowd),
                remote: remote.clone(),
                blobs: Arc::clone(&cx.blobs),
                quarantine: Arc::clone(&quarantine),
                learned,
                tracker: tracker.clone(),
                unique: UniqueIds::new(&cx.source.instance),
                outcomes: Outcomes::new(&cx.source.name),
                config: Arc::clone(config),
            }));
        }
        Ok(endpoints)
    }
}

fn open_quarantine(config: &Config, scratch: &Path) -> Result<Arc<Quarantine>, SourceError> {
    let folder = scratch.join("quarantine");
    let enabled = config.on_invalid == OnInvalid::Quarantine;
    Quarantine::open(folder.clone(), config.quarantine.clone(), enabled)
        .map(Arc::new)
        .map_err(|error| SourceError::Retriable {
            message: format!(
                "the quarantine in {} cannot be opened: check its permissions",
                folder.display()
            ),
            source: Some(Box::new(error)),
        })
}

fn dedup_from(config: &Config) -> DedupFrom {
    let configured = config.dedup.from.clone();
    configured.unwrap_or_else(|| {
        config
            .resolved_scheme()
            .and_then(|scheme| scheme.dedup)
            .map_or(DedupFrom::None, DedupFrom::Place)
    })
}

async fn revoked(endpoints: &[Arc<Endpoint>]) {
    let lanes = endpoints
        .iter()
        .map(|endpoint| Box::pin(endpoint.lane.revoked()));
    if endpoints.is_empty() {
        std::future::pending::<()>().await;
    }
    futures::future::select_all(lanes).await;
}

/// Lets requests under way finish, but not for ever.
async fn finish(config: &Config, endpoints: &[Arc<Endpoint>]) {
    let Some(first) = endpoints.first() else {
        return;
    };
    first.tracker.close();
    let all = async {
        let _nobody = first.crowd.empty().await;
        first.tracker.wait().await;
    };
    let _in_time = tokio::time::timeout(config.timeout.get(), all).await;
}
