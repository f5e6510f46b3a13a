//! Another try for dead letters: through the journal, and then the present pipeline of their source.
//!
//! Letters go, with a note that they did, in one record into the journal, on a lane `{source}/dead-letters` of their own; then they
//! are resolved, and the notes removed. A crash in between finds the notes: the letters are resolved, and not tried twice.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use headgate_sdk::{Batch, DeliveryError, Entry, Lane, LaneError, LaneId, LaneSpec, Replay, Str};
use tokio::sync::watch;

use super::{Gateway, start::pipeline_plan};
use crate::dead_letters::{DeadLetterStore, DeadLetterStoreError, Kept, Resolution};
use crate::pipeline::stack::PipelinePlan;

/// The lane of a source on which its dead letters are tried again.
const DEAD_LETTERS: &str = "dead-letters";
/// The lane of a source on which its events are replayed.
pub(super) const REPLAY: &str = "replay";

/// Letters that go into the journal as one record. Data that lies apart is far larger than the rest, and goes alone.
const TOGETHER: usize = 32;
/// How often is looked whether everything is delivered.
const LOOK: Duration = Duration::from_millis(50);

/// What became of a try.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Retried {
    /// Letters that are in the journal again, and no dead letters any more.
    pub accepted: usize,
    /// Letters that stay, by reason.
    pub refused: BTreeMap<String, usize>,
}

/// Why trying again stopped; what was accepted before stays accepted.
#[derive(Debug, thiserror::Error)]
pub enum RetryError {
    /// The store of dead letters.
    #[error(transparent)]
    Store(#[from] DeadLetterStoreError),
    /// The lane.
    #[error(transparent)]
    Lane(#[from] LaneError),
    /// The journal.
    #[error(transparent)]
    Journal(#[from] DeliveryError),
}

impl Gateway {
    /// The dead letters in `data_dir`.
    #[must_use]
    pub fn dead_letters(&self) -> &DeadLetterStore {
        &self.inner.dead_letters
    }

    /// Gives letters to the present pipelines of their sources again, with id and `recordedtime` as they are. Each is accepted
    /// exactly once; what fails again becomes a dead letter again.
    ///
    /// # Errors
    /// [`RetryError`]; letters that were not accepted stay.
    pub async fn retry_dead_letters(&self, letters: Vec<Kept>) -> Result<Retried, RetryError> {
        let _one_at_a_time = self.inner.retrying.lock().await;
        let mut retried = Retried::default();
        let mut by_lane: BTreeMap<(Str, Str), Vec<Kept>> = BTreeMap::new();
        for kept in letters {
            let source = Str::new(crate::dead_letters::source_name(&kept.letter));
            let tenant = kept.letter.envelope.tenantid.clone();
            by_lane.entry((source, tenant)).or_default().push(kept);
        }
        for ((source, tenant), letters) in by_lane {
            let Some(lane) = self.retry_lane(&source, tenant).await? else {
                let reason = format!(
                    "the source `{source}` is not configured: configure it again, or discard"
                );
                *retried.refused.entry(reason).or_default() += letters.len();
                continue;
            };
            let mut settled = Vec::new();
            for chunk in together(&letters) {
                // Somebody else may have been faster.
                let store = &self.inner.dead_letters;
                let waits = chunk.iter().filter(|kept| store.waits(kept.position));
                let chunk: Vec<Kept> = waits.cloned().collect();
                self.accept(&lane, &chunk, std::mem::take(&mut settled))
                    .await?;
                crate::failpoint::reach("letters-accepted");
                retried.accepted += store.resolve(&chunk, Resolution::Retried).await?;
                // Its notes have served; they go with the next chunk, or the next call.
                settled = chunk.iter().map(note).collect();
            }
            self.forget(&lane, settled).await?;
        }
        Ok(retried)
    }

    /// Puts letters into the journal, except those whose note says that they are there already, and removes the notes
    /// `settled`.
    pub(super) async fn accept(
        &self,
        lane: &Lane,
        letters: &[Kept],
        settled: Vec<Str>,
    ) -> Result<(), RetryError> {
        let mut batch = Batch {
            entries: settled.into_iter().map(Entry::remove).collect(),
            ..Batch::default()
        };
        for kept in letters {
            let note = note(kept);
            if lane.entry(&note).await?.is_some() {
                continue;
            }
            let letter = self.inner.dead_letters.whole(kept).await?;
            batch.events.push(*letter.envelope);
            batch.entries.push(Entry::put(note, Vec::new()));
        }
        if batch.events.is_empty() && batch.entries.is_empty() {
            return Ok(());
        }
        let permit = lane.reserve(batch.weight()).await?;
        permit.send(batch).accepted().await?;
        Ok(())
    }

    /// Removes notes of letters that are resolved.
    async fn forget(&self, lane: &Lane, settled: Vec<Str>) -> Result<(), RetryError> {
        self.accept(lane, &[], settled).await
    }

    /// The lane for a source's retries. `None`: there is no such source.
    pub(super) async fn retry_lane(
        &self,
        source: &Str,
        tenant: Str,
    ) -> Result<Option<Lane>, LaneError> {
        self.aside_lane(DEAD_LETTERS, source, tenant).await
    }

    /// A lane for what comes to a source's pipeline a second time. `None`: there is no such source.
    pub(super) async fn aside_lane(
        &self,
        kind: &str,
        source: &Str,
        tenant: Str,
    ) -> Result<Option<Lane>, LaneError> {
        let Some(plan) = self.plan_of(source) else {
            return Ok(None);
        };
        let lanes = self.inner.lanes.aside(source.clone(), plan);
        let name = format!("{kind}:{tenant}").into();
        let spec = LaneSpec {
            name,
            tenant,
            class: "default".into(),
            replay: Replay::FromJournal,
        };
        lanes.open(spec).await.map(Some)
    }

    /// The pipeline of a source, as it is now.
    fn plan_of(&self, source: &Str) -> Option<watch::Receiver<Arc<PipelinePlan>>> {
        if let Some(running) = self.inner.sources.lock().get(source) {
            return Some(running.plan.subscribe());
        }
        if !self.inner.is_aside {
            return None;
        }
        let config = self.config();
        let configured = config.sources.iter().find(|one| one.name == *source)?;
        Some(watch::channel(pipeline_plan(&config, configured)).1)
    }

    /// Whether events can be given to the pipeline of a source of this name.
    pub(super) fn knows(&self, source: &Str) -> bool {
        self.plan_of(source).is_some()
    }

    /// Resolves when everything that was accepted a second time from sources that there are is delivered, and at once if the gateway stops. Cancel safe.
    pub async fn wait_for_aside(&self) {
        let waits = || {
            let lanes = self.inner.journal.lanes();
            lanes
                .iter()
                .filter(|lane| lane.pending_from.is_some() && aside_kind(&lane.id).is_some())
                .any(|lane| self.knows(&lane.id.source().into()))
        };
        while waits() && !self.inner.stop.is_cancelled() {
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Goes on with what was accepted a second time before the last stop, and is not delivered yet.
    pub(super) fn resume_aside(&self) {
        for found in self.inner.journal.lanes() {
            let source = Str::new(found.id.source());
            let Some((kind, rest)) = aside_kind(&found.id) else {
                continue;
            };
            let tenant = Str::new(rest.split('@').next().unwrap_or_default());
            if found.pending_from.is_none() {
                continue;
            }
            let gateway = self.clone();
            self.inner.tasks.spawn(async move {
                // Opened, it drains; closed, it drains too, and ends.
                if let Err(error) = gateway.aside_lane(kind, &source, tenant).await {
                    tracing::error!(%source, %error, "dead letters that are tried again, or replayed events, wait for the next start");
                }
            });
        }
    }
}

/// What kind of lane it is, if events come to it a second time, and the rest of its name.
fn aside_kind(lane: &LaneId) -> Option<(&'static str, &str)> {
    let (_, name) = lane.as_str().split_once('/')?;
    let (kind, rest) = name.split_once(':')?;
    let kind = [DEAD_LETTERS, REPLAY]
        .into_iter()
        .find(|one| *one == kind)?;
    Some((kind, rest))
}

/// The entry that says that a letter is in the journal.
fn note(kept: &Kept) -> Str {
    format!("retried/{:020}", kept.position).into()
}

/// Parts of `letters` that can share a record.
fn together(letters: &[Kept]) -> impl Iterator<Item = &[Kept]> {
    letters
        .chunk_by(|a, b| a.apart.is_none() && b.apart.is_none())
        .flat_map(|part| part.chunks(TOGETHER))
}
