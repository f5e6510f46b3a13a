//! Forgetting what is older than the window, a page at a time.

use std::time::{Duration, Instant};

use bytes::Bytes;
use headgate_sdk::{Entry, SourceError, Str, Timestamp};

use super::{
    append::GrowthEntry,
    engine::{Done, Engine},
};
use crate::{
    ledger::{self, ContentEntry, FileEntry, ReturnEntry, key},
    name,
};

/// The first pass follows the start after this time (or after the window, if that is shorter),
pub(super) const FIRST_AFTER: Duration = Duration::from_secs(600);
/// and the next one follows a pass.
const EVERY: Duration = Duration::from_secs(3600);

const PAGE: usize = 1000;

/// Where a pass goes on.
#[derive(Debug, Clone)]
pub(super) struct Cursor {
    tenant: Str,
    prefix: &'static str,
    after: Option<Str>,
}

/// A page that was looked through.
#[derive(Debug)]
pub(super) struct Pruned {
    cursor: Cursor,
    /// Keys that are old; those of files only if the file is gone.
    old: Vec<Str>,
    more: bool,
}

impl Engine {
    /// Starts to look through the next page, if it is time.
    pub(super) fn start_prune(&mut self, now: Instant) {
        if self.running.prunes > 0 {
            return;
        }
        if self.prune.is_empty() && now >= self.next_prune {
            self.next_prune = now + EVERY.min(self.plan.window);
            for tenant in self.lanes.keys() {
                for prefix in ["c/", "n/", "f/", "a/", "r/"] {
                    self.prune.push_back(Cursor {
                        tenant: tenant.clone(),
                        prefix,
                        after: None,
                    });
                }
            }
        }
        let Some(mut cursor) = self.prune.pop_front() else {
            return;
        };
        let Some(lane) = self.lanes.get(&cursor.tenant) else {
            return;
        };
        let lane = lane.lane();
        let oldest = self.oldest();
        self.running.prunes += 1;
        self.jobs.spawn(async move {
            let page = lane.entries(cursor.prefix, cursor.after.as_deref(), PAGE);
            // A store that cannot be read now is asked again in the next pass.
            let page = page.await.unwrap_or_default();
            let more = page.len() == PAGE;
            cursor.after = page.last().map(|(key, _)| key.clone());
            let old = tokio::task::spawn_blocking(move || {
                page.into_iter()
                    .filter(|(key, value)| is_old(key, value, oldest).is_some() && !lies_there(key))
                    .map(|(key, _)| key)
                    .collect()
            });
            let old = old.await.unwrap_or_default();
            Done::Pruned(Pruned { cursor, old, more })
        });
    }

    /// Removes what is still old: the page was read a moment ago.
    pub(super) async fn on_pruned(&mut self, pruned: Pruned) -> Result<(), SourceError> {
        let Pruned { cursor, old, more } = pruned;
        let oldest = self.oldest();
        let growing = self.growing.clone();
        let reading = self.running.streams > 0 || !self.streams.is_empty();
        let lane = self.lane(&cursor.tenant).await?;
        let mut epoch = lane.epoch;
        for key in old {
            if reading && key.starts_with("r/") {
                continue;
            }
            // Readers of records store their progress themselves.
            let stored = match key.as_bytes().first() {
                Some(b'a' | b'r') => lane.lane().entry(&key).await?,
                _ => lane.get_raw(&key.clone().into()).await?,
            };
            let Some(value) = stored else {
                continue;
            };
            if let Some(counted) = is_old(&key, &value, oldest) {
                epoch = epoch.max(counted);
                if let (Some(growing), Some(path)) = (&growing, key.strip_prefix("a/"))
                    && !growing.forget_before(&name::decode(path), oldest)
                {
                    continue;
                }
                lane.put(Entry::remove(key));
            }
        }
        if epoch > lane.epoch {
            // Stored with the removals: an id that was given under them is never given again.
            lane.epoch = epoch;
            lane.put(ledger::put(key::EPOCH.into(), &epoch));
        }
        lane.finish();
        if more {
            // One page a turn: nothing waits for this.
            self.prune.push_back(cursor);
        }
        Ok(())
    }

    /// Entries from before this second are out of the window.
    pub(super) fn oldest(&self) -> i64 {
        self.oldest_at(Timestamp::now())
    }

    /// The same at another time than now.
    pub(super) fn oldest_at(&self, now: Timestamp) -> i64 {
        let window = i64::try_from(self.plan.window.as_secs()).unwrap_or(i64::MAX);
        now.as_second().saturating_sub(window)
    }
}

/// Whether an entry is old, and if so, from which number returns to its content must be counted on.
fn is_old(key: &str, value: &Bytes, oldest: i64) -> Option<u64> {
    let (at, next) = match key.as_bytes().first() {
        Some(b'c') => ledger::get::<ContentEntry>(value).map(|entry| (entry.at, entry.n + 1)),
        Some(b'a') => ledger::get::<GrowthEntry>(value).map(|entry| (entry.at, 0)),
        // Of a file that is gone: how far it was read is of no use.
        Some(b'r') => Some((i64::MIN, 0)),
        Some(b'n') => ledger::get::<ReturnEntry>(value).map(|entry| (entry.at, entry.n + 1)),
        _ => ledger::get::<FileEntry>(value).map(|entry| (entry.since, 0)),
    }?;
    (at < oldest).then_some(next)
}

/// Whether the file that an entry is about lies in its place. Blocks.
pub(super) fn lies_there(key: &str) -> bool {
    let path = ["f/", "a/", "r/"]
        .iter()
        .find_map(|prefix| key.strip_prefix(prefix));
    path.is_some_and(|path| {
        std::fs::symlink_metadata(name::decode(path)).map_or_else(
            |error| error.kind() != std::io::ErrorKind::NotFound,
            |_| true,
        )
    })
}
