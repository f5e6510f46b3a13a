//! Replays inside a running gateway.
//!
//! What comes from the journal goes, marked, through the journal again, on a lane `{source}/replay` of its own, and then the present
//! pipeline of its source. What comes from a log or from topics goes to a sink as it is. Both are at least once: a client that is cut off
//! goes on where it was.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::future::join_all;
use headgate_sdk::{Batch, DeliveryError, Entry, LaneError, LaneId, Str, Timestamp};
use tower::{Service, ServiceExt};

use super::Gateway;
use crate::{
    pipeline::{
        share::Priority,
        stack::{self, SinkPlan},
    },
    replay::{
        Choice, ReplayError,
        cursor::{CursorError, position},
        from_journal, from_log, from_topics,
    },
    runtime::{CheckpointError, Commit},
    sink::{Checkpoint, Notes, Outcome, Record, SinkBatch, SinkError, log::Start},
};

/// The lane under which the last replay is remembered. With the instance behind it, the lane on which replays into a sink go: no other
/// instance has their events.
const KEPT: &str = "replay:/";
const LAST: &str = "last";
/// How often the age of the last replay is brought up to date.
const EVERY: Duration = Duration::from_secs(10);
/// Events of one batch.
const BATCH: usize = 256;

/// Where events come from, and where they go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// From the journal through the pipelines.
    Journal,
    /// From the embedded log of a sink (the first one without a name) to a sink (the same one without a name), and there to a
    /// topic (their own without one).
    Log {
        /// The sink whose log is read.
        from: Option<String>,
        /// The sink that gets them.
        to: Option<String>,
        /// The topic that they get.
        topic: Option<Str>,
    },
    /// From topics of a Kafka sink's cluster, otherwise alike.
    Kafka {
        /// The sink whose cluster is read.
        from: Option<String>,
        /// The names of the topics; `*` stands for any characters.
        topics: Vec<String>,
        /// The sink that gets them.
        to: Option<String>,
        /// The topic that they get.
        topic: Option<Str>,
    },
}

/// What kind of sink is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Any,
    Log,
    Kafka,
}

/// What a part of a replay came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Replayed {
    /// How many events were taken.
    pub taken: usize,
    /// Events that went nowhere, by reason.
    pub refused: BTreeMap<String, usize>,
    /// Where to go on; `None`: that was all.
    pub next: Option<String>,
}

/// Why a replay stopped; what was delivered stays delivered.
#[derive(Debug, thiserror::Error)]
pub enum ReplayFailure {
    /// A sink that is not there; says what is.
    #[error("{0}")]
    Unknown(String),
    /// Reading.
    #[error(transparent)]
    Read(#[from] ReplayError),
    /// Where to go on.
    #[error(transparent)]
    Cursor(#[from] CursorError),
    /// A lane.
    #[error(transparent)]
    Lane(#[from] LaneError),
    /// The journal.
    #[error(transparent)]
    Journal(#[from] DeliveryError),
    /// The sink.
    #[error(transparent)]
    Sink(#[from] SinkError),
}

impl Gateway {
    /// Replays up to about `limit` events from where an earlier part ended; only counts them in a dry run. Returns when they are durable, or in the
    /// journal.
    ///
    /// # Errors
    /// [`ReplayFailure`].
    pub async fn replay(
        &self,
        way: &Way,
        choice: &Choice,
        after: Option<&str>,
        limit: usize,
        dry_run: bool,
    ) -> Result<Replayed, ReplayFailure> {
        let replayed = match way {
            Way::Journal => {
                let after = position(after)?;
                self.replay_journal(choice, after, limit, dry_run).await?
            }
            Way::Log { from, to, topic } => {
                let from = self.sink_plan(from.as_deref(), Kind::Log)?;
                let log = from.sink.log().cloned().ok_or_else(|| {
                    let name = from.sink.name();
                    ReplayFailure::Unknown(format!("the sink `{name}` is no embedded log"))
                })?;
                let to = match to {
                    Some(to) => self.sink_plan(Some(to), Kind::Any)?,
                    None => from.clone(),
                };
                let reader = log.reader(start(choice, position(after)?));
                let chunk = from_log(reader, choice, limit).await?;
                let replayed = Replayed {
                    taken: chunk.events.len(),
                    next: chunk.next.map(|next| next.to_string()),
                    ..Replayed::default()
                };
                if !dry_run {
                    self.replay_into(&to, topic.as_ref(), choice, chunk.events)
                        .await?;
                }
                replayed
            }
            Way::Kafka {
                from,
                topics,
                to,
                topic,
            } => {
                let from = self.sink_plan(from.as_deref(), Kind::Kafka)?;
                let reader = from.sink.topics().cloned().ok_or_else(|| {
                    let name = from.sink.name();
                    ReplayFailure::Unknown(format!("the sink `{name}` writes to no Kafka"))
                })?;
                let to = match to {
                    Some(to) => self.sink_plan(Some(to), Kind::Any)?,
                    None => from.clone(),
                };
                let chunk = from_topics(&reader, topics, choice, after, limit).await?;
                let replayed = Replayed {
                    taken: chunk.events.len(),
                    refused: chunk.refused,
                    next: chunk.next,
                };
                if !dry_run {
                    self.replay_into(&to, topic.as_ref(), choice, chunk.events)
                        .await?;
                }
                replayed
            }
        };
        if !dry_run && replayed.next.is_none() {
            self.remember_replay().await;
        }
        Ok(replayed)
    }

    async fn replay_journal(
        &self,
        choice: &Choice,
        after: u64,
        limit: usize,
        dry_run: bool,
    ) -> Result<Replayed, ReplayFailure> {
        let chunk = from_journal(&self.inner.journal, choice, after, limit).await?;
        let mut replayed = Replayed {
            next: chunk.next.map(|next| next.to_string()),
            ..Replayed::default()
        };
        let mut by_lane: BTreeMap<(Str, Str), Vec<_>> = BTreeMap::new();
        for (source, mut event) in chunk.events {
            event.replayid = Some(choice.replayid.clone());
            let lane = (source, event.tenantid.clone());
            by_lane.entry(lane).or_default().push(event);
        }
        for ((source, tenant), events) in by_lane {
            if !self.knows(&source) {
                let reason = format!("the source `{source}` is not configured");
                *replayed.refused.entry(reason).or_default() += events.len();
                continue;
            }
            replayed.taken += events.len();
            if dry_run {
                continue;
            }
            let Some(lane) = self
                .aside_lane(super::retry::REPLAY, &source, tenant)
                .await?
            else {
                continue;
            };
            for events in events.chunks(BATCH) {
                let batch = Batch {
                    events: events.to_vec(),
                    ..Batch::default()
                };
                let permit = lane.reserve(batch.weight()).await?;
                permit.send(batch).accepted().await?;
            }
        }
        Ok(replayed)
    }

    /// Gives events, marked, to a sink. Returns when they are durable. Replays into sinks take turns, since they share a lane.
    async fn replay_into(
        &self,
        to: &SinkPlan,
        topic: Option<&Str>,
        choice: &Choice,
        mut events: Vec<Record>,
    ) -> Result<(), ReplayFailure> {
        let mut number = self.inner.replaying.lock().await;
        for record in &mut events {
            record.envelope.replayid = Some(choice.replayid.clone());
            if let Some(topic) = topic {
                record.topic = topic.clone();
            }
        }
        let identity = self.inner.data_dir.identity();
        let lane = LaneId::from_stored(format!("{KEPT}@{}", identity.instance));
        let shard = identity.shard_of(lane.as_str());
        let mut way = stack::outlet(to, &lane, shard, Priority::Bulk, &self.inner.stack).service;
        let mut pending = Vec::new();
        while !events.is_empty() {
            let rest = events.split_off(events.len().min(BATCH));
            *number += 1;
            let batch = SinkBatch {
                lane: lane.clone(),
                number: *number,
                records: std::mem::replace(&mut events, rest),
                dead_letters: Vec::new(),
                checkpoint: None,
                landed: Notes::default(),
            };
            pending.push(way.ready().await?.call(Arc::new(batch)).await?);
        }
        for outcome in join_all(pending).await {
            if let Outcome::Retriable(error) = outcome {
                return Err(error.into());
            }
        }
        Ok(())
    }

    /// A sink by name, or the first one of its kind; one that everybody waits for, whatever its lanes do.
    fn sink_plan(&self, name: Option<&str>, kind: Kind) -> Result<SinkPlan, ReplayFailure> {
        let sinks = &self.inner.stack.sinks;
        let found = sinks.iter().find(|plan| match (name, kind) {
            (Some(name), _) => plan.sink.name() == name,
            (None, Kind::Log) => plan.sink.log().is_some(),
            (None, Kind::Kafka) => plan.sink.topics().is_some(),
            (None, Kind::Any) => true,
        });
        let plan = found.ok_or_else(|| {
            let names: Vec<_> = sinks.iter().map(|plan| plan.sink.name().as_str()).collect();
            ReplayFailure::Unknown(match name {
                Some(name) => format!("there is no sink `{name}`; there are {}", names.join(", ")),
                None if kind == Kind::Kafka => {
                    "no sink of this configuration writes to Kafka".to_owned()
                }
                None => "no sink of this configuration is an embedded log".to_owned(),
            })
        })?;
        Ok(SinkPlan {
            required: true,
            ..plan.clone()
        })
    }

    /// A replay came to its end.
    async fn remember_replay(&self) {
        let now = Timestamp::now().as_millisecond();
        let value = Bytes::copy_from_slice(&now.to_le_bytes());
        let checkpoint = Checkpoint {
            entries: vec![Entry::put(LAST, value)],
            ..Checkpoint::default()
        };
        let commit = Commit {
            lane: LaneId::from_stored(KEPT),
            checkpoint,
            mark: None,
            done: None,
        };
        self.inner.checkpoints.commit(commit).await;
        self.inner.checkpoints.flush().await;
    }

    /// When the last replay came to its end.
    ///
    /// # Errors
    /// [`CheckpointError`] if the store cannot be read.
    pub fn last_replay(&self) -> Result<Option<Timestamp>, CheckpointError> {
        let lane = LaneId::from_stored(KEPT);
        let value = self.inner.checkpoints.entry(&lane, LAST)?;
        let ms = value.and_then(|value| Some(i64::from_le_bytes(value.as_ref().try_into().ok()?)));
        Ok(ms.and_then(|ms| Timestamp::from_millisecond(ms).ok()))
    }

    /// Shows the age of the last replay until the gateway stops.
    pub(super) fn show_replay_age(&self) {
        let gateway = self.clone();
        self.inner.tasks.spawn(async move {
            let age = metrics::gauge!("headgate_replay_age_seconds");
            let mut ticks = tokio::time::interval(EVERY);
            loop {
                tokio::select! {
                    () = gateway.inner.stop.cancelled() => return,
                    _ = ticks.tick() => {}
                }
                if let Ok(Some(last)) = gateway.last_replay() {
                    age.set(Timestamp::now().duration_since(last).as_secs_f64());
                }
            }
        });
    }
}

fn start(choice: &Choice, after: u64) -> Start {
    match (after, choice.since) {
        (0, Some(since)) => Start::Since(since),
        (0, None) => Start::Oldest,
        (after, _) => Start::After(after),
    }
}
