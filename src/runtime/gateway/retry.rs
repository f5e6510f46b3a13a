//! Another try for dead letters: through the journal, and then the present pipeline of their source.
//!
//! Each letter goes, with a note that it did, as one record into the journal, on a lane `{source}/dead-letters` of its own; then it
//! is resolved. A crash in between finds the note: the letter is resolved, and not tried twice.

use std::collections::BTreeMap;

use headgate_sdk::{Batch, DeliveryError, Entry, Lane, LaneError, LaneSpec, Replay, Str};
use tokio::sync::watch;

use super::Gateway;
use crate::dead_letters::{DeadLetterStore, DeadLetterStoreError, Kept, Resolution};

/// The lane of a source on which its dead letters are tried again.
const LANE: &str = "dead-letters";

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
            for kept in letters {
                // Somebody else may have been faster.
                if !self.inner.dead_letters.waits(kept.position) {
                    continue;
                }
                self.accept(&lane, &kept).await?;
                self.inner
                    .dead_letters
                    .resolve(&[kept], Resolution::Retried)
                    .await?;
                retried.accepted += 1;
            }
        }
        Ok(retried)
    }

    /// Puts a letter into the journal, unless its note says that it is there already.
    pub(super) async fn accept(&self, lane: &Lane, kept: &Kept) -> Result<(), RetryError> {
        let note = format!("retried/{:020}", kept.position);
        if lane.entry(&note).await?.is_some() {
            return Ok(());
        }
        let event = (*kept.letter.envelope).clone();
        let batch = Batch {
            events: vec![event],
            entries: vec![Entry::put(note, Vec::new())],
            ..Batch::default()
        };
        let permit = lane.reserve(batch.weight()).await?;
        permit.send(batch).accepted().await?;
        Ok(())
    }

    /// The lane for a source's retries. `None`: there is no such source.
    pub(super) async fn retry_lane(
        &self,
        source: &Str,
        tenant: Str,
    ) -> Result<Option<Lane>, LaneError> {
        let plan = match self.inner.sources.lock().get(source) {
            Some(running) => running.plan.subscribe(),
            None => return Ok(None),
        };
        let (_, never_paused) = watch::channel(false);
        let revoked = self.inner.stop.child_token();
        let lanes = self
            .inner
            .lanes
            .for_source(source.clone(), plan, never_paused, revoked);
        let name = format!("{LANE}:{tenant}").into();
        let spec = LaneSpec {
            name,
            tenant,
            class: "default".into(),
            replay: Replay::FromJournal,
        };
        lanes.open(spec).await.map(Some)
    }

    /// Goes on with what was accepted for another try before the last stop, and is not delivered yet.
    pub(super) fn resume_retries(&self) {
        for found in self.inner.journal.lanes() {
            let source = Str::new(found.id.source());
            let Some((_, name)) = found.id.as_str().split_once('/') else {
                continue;
            };
            let Some(rest) = name
                .strip_prefix(LANE)
                .and_then(|rest| rest.strip_prefix(':'))
            else {
                continue;
            };
            let tenant = Str::new(rest.split('@').next().unwrap_or_default());
            if found.pending_from.is_none() {
                continue;
            }
            let gateway = self.clone();
            self.inner.tasks.spawn(async move {
                // Opened, it drains; closed, it drains too, and ends.
                if let Err(error) = gateway.retry_lane(&source, tenant).await {
                    tracing::error!(%source, %error, "dead letters that are tried again wait for the next start");
                }
            });
        }
    }
}
