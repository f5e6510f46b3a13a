//! The running source.
//!
//! | concept | where |
//! |---|---|
//! | from start to stream | [`MongoSource`] |
//! | the loop: replies, events, batches | `engine` |
//! | what to do when something fails | `trouble` |
//! | snapshots between the events | `interleave` |
//! | what an operator asks | `control` |

mod control;
mod engine;
mod interleave;
mod trouble;

use std::time::Duration;

use headgate_sdk::{
    LaneSpec, Replay, Source, SourceContext, SourceError, Str, Timestamp, status::State,
};
use mongodb::{Client, bson};

use crate::{
    config::{BeforeChange, Checked, FullDocument},
    deployment::{self, CollectionInfo, Deployment},
    event::{EventWriter, Settings},
    failure::{self, Failure, Phase},
    position::StreamPosition,
    snapshot::Snapshots,
    stream::Start,
};
use engine::Engine;

/// A configured source of change events.
pub struct MongoSource {
    config: Checked,
}

/// How long the deployment may take to say who it is and what it has.
const PATIENCE: Duration = Duration::from_secs(120);
/// Entry: the scope for which snapshots were planned.
const SCOPE_ENTRY: &str = "scope";
/// Entry: when history was lost, as a JSON list of seconds.
const LOST_ENTRY: &str = "lost";

impl MongoSource {
    pub(crate) fn new(config: Checked) -> Self {
        Self { config }
    }

    async fn start(self, cx: SourceContext) -> Result<(), SourceError> {
        let config = self.config;
        let scope = config.scope.text();
        let ended = |error: &mongodb::error::Error| ended(error, &scope);
        cx.status.set(State::Starting);
        let asked = async {
            let client = deployment::connect(&config).await?;
            let deployment = Deployment::ask(&client).await?;
            let existing = match deployment.has_history() {
                true => deployment::collections(&client, &config.scope).await?,
                false => Vec::new(),
            };
            Ok((client, deployment, existing))
        };
        let (client, deployment, existing) = tokio::time::timeout(PATIENCE, asked)
            .await
            .map_err(|_| {
                SourceError::retriable(format!(
                    "{scope}: the deployment did not answer within {PATIENCE:?}: check that it runs and that the network lets it through"
                ))
            })?
            .map_err(|e| ended(&e))?;
        if !deployment.has_history() {
            return Err(SourceError::fatal(format!(
                "{scope}: the server is no member of a replica set, so it keeps no history: start it with `--replSet rs0` and run `rs.initiate()`"
            )));
        }
        check_collections(&config, &existing, &cx)?;

        let lane = cx
            .lanes
            .open(LaneSpec {
                name: Str::default(),
                tenant: cx.source.tenant.clone(),
                class: Str::new_static("default"),
                replay: Replay::FromSource,
            })
            .await?;
        let position = match lane.restored() {
            None => None,
            Some(stored) => Some(
                stored
                    .decode::<StreamPosition>()
                    .map_err(|error| SourceError::fatal(error.to_string()))?,
            ),
        };
        if let Some(position) = &position {
            check_deployment(position, &deployment)?;
        }
        let settings = Settings {
            name: cx.source.name.clone(),
            urn: cx.source.urn.clone(),
            tenant: cx.source.tenant.clone(),
            event_type: config.event_type.clone(),
            format: config.json,
            full_document: config.full_document,
            tombstones: config.tombstones,
        };
        let planned = lane.entry(SCOPE_ENTRY).await?;
        let lost = lane.entry(LOST_ENTRY).await?;
        let lost = lost
            .and_then(|lost| serde_json::from_slice(&lost).ok())
            .unwrap_or_default();
        let snapshots = Snapshots::load(&lane).await?;
        let start = match (&position, config.start_at) {
            (None, Some(at)) => Start::At(timestamp(at)),
            _ => Start::Now,
        };
        Engine::new(engine::Parts {
            cx,
            client,
            config,
            replica_set: deployment.replica_set,
            lane,
            writer: EventWriter::new(settings),
            position,
            start,
            snapshots,
            planned: planned.map(|text| String::from_utf8_lossy(&text).into_owned()),
            lost,
        })
        .run()
        .await
    }
}

impl Source for MongoSource {
    async fn run(self, cx: SourceContext) -> Result<(), SourceError> {
        let shutdown = cx.shutdown.clone();
        // Dropping the work at any point is clean: what was sent is the runtime's, cursors are closed behind us.
        tokio::select! {
            biased;
            () = shutdown.cancelled() => Ok(()),
            ended = Box::pin(self.start(cx)) => ended,
        }
    }
}

/// An error before or beside the stream.
fn ended(error: &mongodb::error::Error, scope: &str) -> SourceError {
    let message = failure::advice(error, scope);
    match failure::classify(error, Phase::Open) {
        Failure::Stop | Failure::NotSupported => SourceError::fatal(message),
        _ => SourceError::retriable(message),
    }
}

fn check_deployment(position: &StreamPosition, now: &Deployment) -> Result<(), SourceError> {
    match (&position.replica_set, &now.replica_set) {
        (Some(stored), Some(now)) if stored != now => Err(SourceError::fatal(format!(
            "the stored position is of the replica set `{stored}`, but `url` leads to `{now}`: correct `url`, or give the source another name so that it starts anew"
        ))),
        _ => Ok(()),
    }
}

/// Warns of what is absent, and refuses what cannot work.
fn check_collections(
    config: &Checked,
    existing: &[CollectionInfo],
    cx: &SourceContext,
) -> Result<(), SourceError> {
    for (database, name) in config.scope.named() {
        let exists = existing
            .iter()
            .any(|c| c.database == database && c.name == name);
        let key = format!("absent/{database}.{name}");
        if exists {
            cx.status.clear(&key);
        } else {
            cx.status.warn(
                key,
                format!("the collection {database}.{name} does not exist: its events will come once it does; check the spelling"),
            );
        }
    }
    let wants = config.full_document == FullDocument::WhenAvailable
        || config.before == BeforeChange::WhenAvailable;
    let requires =
        config.full_document == FullDocument::Required || config.before == BeforeChange::Required;
    let without: Vec<_> = existing.iter().filter(|c| !c.images).collect();
    let Some(first) = without.first().filter(|_| wants || requires) else {
        return Ok(());
    };
    let message = format!(
        "{} of the watched collections keep no pre- and post-images, such as {}: run `{}` (`headgate mongodb check` lists all)",
        without.len(),
        first.namespace(),
        first.enable_images()
    );
    if requires {
        return Err(SourceError::fatal(message));
    }
    cx.status.warn("images", message);
    Ok(())
}

fn timestamp(at: Timestamp) -> bson::Timestamp {
    bson::Timestamp {
        time: u32::try_from(at.as_second()).unwrap_or(0),
        increment: 1,
    }
}

/// What an engine needs of the driver.
type DriverError = mongodb::error::Error;
type DriverClient = Client;
