//! What `headgate files status` shows, counted by the running source or from the stored checkpoints.

use std::collections::BTreeMap;

use bytes::Bytes;
use headgate_sdk::{Lane, LaneError, Str, control::Control, control::ControlError};
use serde::{Deserialize, Serialize};

use super::{engine::Engine, lanes::LaneState, prune::lies_there};
use crate::{
    config::Afterwards,
    ledger::{self, FileEntry},
    name,
    state::FileState,
};

/// So many failed files are named.
const MAX_NAMED: usize = 20;

const PAGE: usize = 1000;

/// Files by state.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Figures {
    /// By the state's word; states without files are absent.
    pub states: BTreeMap<String, StateFigure>,
    /// How many of those that are done were passed over as duplicates.
    pub duplicates: u64,
    /// Failed files, the newest first, at most twenty.
    pub failed: Vec<FailedFile>,
    /// How many times each folder was read as a whole since the start, at least.
    #[serde(default)]
    pub scans: u64,
    /// Whether the source runs: else nothing is known of files that are not yet durable.
    pub running: bool,
}

/// Files in one state.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateFigure {
    /// How many.
    pub count: u64,
    /// The path of the one that is in it longest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest: Option<String>,
    /// Since when, seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_since: Option<i64>,
}

/// A file that failed as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedFile {
    /// Where it was dropped.
    pub path: String,
    /// Why it failed.
    pub reason: String,
    /// When, seconds since 1970.
    pub since: i64,
}

impl Figures {
    /// Counts one `f/` entry.
    pub fn add_entry(&mut self, key: &str, value: &Bytes) {
        if let Some(entry) = ledger::get::<FileEntry>(value) {
            self.add_file(key, entry);
        }
    }

    fn add_file(&mut self, key: &str, entry: FileEntry) {
        let path = key.strip_prefix("f/").unwrap_or(key);
        self.add(entry.state, path, entry.since);
        self.duplicates += u64::from(entry.duplicate);
        if entry.state == FileState::Failed {
            self.failed.push(FailedFile {
                path: path.to_owned(),
                reason: entry.why.unwrap_or_default().to_string(),
                since: entry.since,
            });
            self.failed
                .sort_by_key(|file| std::cmp::Reverse(file.since));
            self.failed.truncate(MAX_NAMED);
        }
    }

    fn add(&mut self, state: FileState, path: &str, since: i64) {
        let figure = self.states.entry(state.word().to_owned()).or_default();
        figure.count += 1;
        if figure.oldest_since.is_none_or(|oldest| since < oldest) {
            figure.oldest = Some(path.to_owned());
            figure.oldest_since = Some(since);
        }
    }

    fn set(&mut self, state: FileState, count: usize) -> &mut StateFigure {
        let figure = self.states.entry(state.word().to_owned()).or_default();
        figure.count = count as u64;
        figure
    }
}

impl Engine {
    /// Answers the operator.
    pub(super) fn answer(&mut self, control: Control) {
        if control.action != "status" {
            control.unknown();
            return;
        }
        let mut figures = Figures {
            running: true,
            scans: self.folders.iter().map(|f| f.scans).min().unwrap_or(0),
            ..Figures::default()
        };
        let discovered = figures.set(FileState::Discovered, self.tracker.len());
        if let Some((key, candidate)) = self.tracker.oldest() {
            let age = i64::try_from(candidate.first_seen.elapsed().as_secs()).unwrap_or(0);
            discovered.oldest = Some(name::encode(&self.path(key)).into_owned());
            discovered.oldest_since = Some(super::judge::seconds_now() - age);
        }
        figures.set(FileState::Stable, self.tracker.taken());
        let published = self.lanes.values().map(LaneState::unacknowledged).sum();
        figures.set(FileState::Published, published);
        let lanes: Vec<_> = self.lanes.values().map(LaneState::lane).collect();
        let leave = self.plan.afterwards == Afterwards::Leave;
        self.answers.spawn(async move {
            let answer = match count(&lanes, leave, &mut figures).await {
                Ok(()) => serde_json::to_value(&figures)
                    .map_err(|error| ControlError::Failed(error.to_string())),
                Err(error) => Err(ControlError::Failed(error.to_string())),
            };
            control.reply(answer);
        });
    }
}

async fn count(lanes: &[Lane], leave: bool, figures: &mut Figures) -> Result<(), LaneError> {
    for lane in lanes {
        let mut after = None;
        loop {
            let page = lane.entries("f/", after.as_deref(), PAGE).await?;
            let full = page.len() == PAGE;
            after = page.last().map(|(key, _)| key.clone());
            if leave {
                for (key, value) in &page {
                    figures.add_entry(key, value);
                }
            } else {
                let counted = std::mem::take(figures);
                let counting = tokio::task::spawn_blocking(move || add_present(counted, &page));
                *figures = counting.await.unwrap_or_default();
            }
            if !full {
                break;
            }
        }
    }
    Ok(())
}

/// What is done with a file and what is noted of that are two things: after a crash between them the file is gone, and no longer waits
/// to be put away.
fn add_present(mut figures: Figures, page: &[(Str, Bytes)]) -> Figures {
    for (key, value) in page {
        let Some(mut entry) = ledger::get::<FileEntry>(value) else {
            continue;
        };
        if entry.state == FileState::Acknowledged && !lies_there(key) {
            entry.state = FileState::Gone;
        }
        figures.add_file(key, entry);
    }
    figures
}
