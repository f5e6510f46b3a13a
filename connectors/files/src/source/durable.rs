//! What became durable, what is done with its files, and what is told about all of it.

use std::time::{Duration, Instant};

use headgate_sdk::{SourceError, status::State};

use super::{
    engine::{Engine, UPKEEP},
    folders::Watched,
    index::Rest,
    jobs::PutAway,
    lanes::{After, LaneEvent},
};
use crate::{
    afterwards::Shelved,
    ledger, name,
    state::{FileState, Step},
};

impl Engine {
    pub(super) fn on_lane(&mut self, event: LaneEvent) -> Result<(), SourceError> {
        let now = Instant::now();
        match event {
            LaneEvent::Durable {
                tenant,
                number,
                files,
                afters,
            } => {
                if let Some(lane) = self.lanes.get_mut(&tenant) {
                    lane.durable(number);
                }
                metrics::counter!("headgate_files_acknowledged_total", "source" => self.source.name.to_string())
                    .increment(files);
                for After { key, tenant, entry } in afters {
                    self.index.advance(&key, &entry.stamp, Rest::Leaving);
                    self.shelf.push_back(PutAway {
                        key,
                        tenant,
                        entry,
                        not_before: now,
                    });
                }
                Ok(())
            }
            LaneEvent::Closed(tenant) => Err(SourceError::retriable(format!(
                "the lane of tenant `{tenant}` is closed"
            ))),
        }
    }

    pub(super) fn on_put_away(
        &mut self,
        item: PutAway,
        result: std::io::Result<Shelved>,
        now: Instant,
    ) {
        let path = self.path(&item.key);
        let state = match result {
            Ok(Shelved::Moved(_) | Shelved::Deleted) => item.entry.state.after(Step::PutAway),
            Ok(Shelved::Gone) => item.entry.state.after(Step::Vanished),
            Ok(Shelved::Replaced) => {
                // The version that lies there now is found by itself.
                self.index.forget(&item.key);
                self.folders[usize::from(item.key.folder)].rescan(now);
                return;
            }
            Err(error) => {
                let message = format!(
                    "{}: cannot be put away: {error}; make room, and let the user that Headgate runs as write to `{}` and `{}`",
                    name::encode(&path),
                    self.plan.processed.display(),
                    self.plan.failed.display()
                );
                self.status.warn("put_away", message);
                let delay = (4 * self.plan.settle)
                    .clamp(Duration::from_millis(200), Duration::from_secs(30));
                let not_before = now + delay;
                self.shelf.push_back(PutAway { not_before, ..item });
                return;
            }
        };
        self.status.clear("put_away");
        self.index.forget(&item.key);
        let Ok(state) = state else {
            return;
        };
        let mut entry = item.entry;
        if state == FileState::Failed {
            // Already so in the checkpoint; the move changes nothing about it.
            return;
        }
        entry.state = state;
        entry.since = super::judge::seconds_now();
        if let Some(lane) = self.lanes.get_mut(&item.tenant) {
            lane.put(ledger::put(ledger::key::file(&path), &entry));
            lane.finish();
        }
    }

    /// Ready as soon as one folder is; which ones are missing is told by warnings.
    pub(super) fn tell_state(&self) {
        let there = self.folders.iter().any(Watched::is_there);
        let tried = self.folders.iter().all(|folder| folder.scan_number > 0);
        if there {
            self.status.set(State::Ready);
        } else if tried {
            self.status.set(State::Waiting(
                "none of its folders can be read at present".into(),
            ));
        }
    }

    pub(super) fn tell_stuck(&mut self, now: Instant) {
        if now >= self.next_stuck {
            self.look_for_stuck(now);
        }
        let gauge = |what: &'static str, value: usize| {
            #[expect(clippy::cast_precision_loss, reason = "a figure")]
            metrics::gauge!(what, "source" => self.source.name.to_string()).set(value as f64);
        };
        gauge("headgate_files_waiting", self.tracker.len());
        gauge("headgate_files_reading", self.tracker.taken());
        gauge("headgate_files_to_put_away", self.shelf.len());
    }

    fn look_for_stuck(&mut self, now: Instant) {
        let oldest = self.tracker.oldest();
        let stuck = oldest.filter(|(_, c)| now - c.first_seen > self.plan.stuck_after);
        // All candidates are looked at for it. Once one is stuck, it is to show soon that it no longer is.
        let again = match stuck {
            Some(_) => UPKEEP,
            None => (self.plan.stuck_after / 10).clamp(UPKEEP, Duration::from_secs(60)),
        };
        self.next_stuck = now + again;
        match stuck {
            Some((key, candidate)) => {
                let path = self.path(key);
                let waited = match (now - candidate.first_seen).as_secs() {
                    seconds @ 0..120 => format!("{seconds} s"),
                    seconds => format!("{} minutes", seconds / 60),
                };
                let message = format!(
                    "{}: not taken for {waited}, because it keeps changing, is held open for writing, or cannot be read; \
                     close the program that writes it, or exclude it",
                    name::encode(&path)
                );
                self.status.warn("stuck", message);
            }
            None => self.status.clear("stuck"),
        }
    }
}
