//! Files that belong together, until they are complete or their time is over.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::event::Facts;
use crate::config::{Bundle, BundleBy};

/// So many files may wait in open bundles; beyond that the oldest bundle goes as it is.
const MAX_WAITING: usize = 4096;

/// What files of a bundle have in common: folder, directory and stem.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Name {
    folder: u16,
    path: PathBuf,
}

struct Open {
    since: Instant,
    members: Vec<Facts>,
}

/// A bundle that is ready to be sent; its members in the order of their paths.
pub(crate) struct Closed {
    pub(crate) name: String,
    pub(crate) complete: bool,
    pub(crate) members: Vec<Facts>,
}

/// The open bundles of a source.
pub(crate) struct Bundles {
    by: BundleBy,
    complete: Vec<String>,
    window: Duration,
    open: HashMap<Name, Open>,
    waiting: usize,
}

impl Bundles {
    pub(crate) fn new(bundle: &Bundle) -> Self {
        Self {
            by: bundle.by,
            complete: bundle
                .complete
                .iter()
                .map(|extension| extension.trim_start_matches('.').to_lowercase())
                .collect(),
            window: bundle.window.get(),
            open: HashMap::new(),
            waiting: 0,
        }
    }

    /// Adds a file, and returns what is complete by it.
    pub(crate) fn add(&mut self, facts: Facts, now: Instant) -> Option<Closed> {
        let name = self.name(&facts);
        let open = self.open.entry(name.clone()).or_insert_with(|| Open {
            since: now,
            members: Vec::new(),
        });
        // A newer version of a file takes the place of the older.
        open.members.retain(|member| member.key != facts.key);
        open.members.push(facts);
        let complete = !self.complete.is_empty()
            && self.complete.iter().all(|wanted| {
                open.members
                    .iter()
                    .any(|member| extension(&member.key.path).as_deref() == Some(wanted))
            });
        self.waiting = self.open.values().map(|open| open.members.len()).sum();
        if complete {
            return self.close(&name, true);
        }
        if self.waiting > MAX_WAITING {
            let oldest = self.open.iter().min_by_key(|(_, open)| open.since);
            let oldest = oldest.map(|(name, _)| name.clone())?;
            return self.close(&oldest, false);
        }
        None
    }

    /// The next bundle whose time is over.
    pub(crate) fn take_due(&mut self, now: Instant) -> Option<Closed> {
        let due = self
            .open
            .iter()
            .find(|(_, open)| open.since + self.window <= now)
            .map(|(name, _)| name.clone())?;
        // Without extensions to wait for, time is what completes it.
        let complete = self.complete.is_empty();
        self.close(&due, complete)
    }

    /// When [`take_due`](Self::take_due) has something.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.open
            .values()
            .map(|open| open.since + self.window)
            .min()
    }

    fn name(&self, facts: &Facts) -> Name {
        let path = &facts.key.path;
        let folder = facts.key.folder;
        let path = match self.by {
            BundleBy::Stem => path.with_extension(""),
            BundleBy::Window => path.parent().unwrap_or(Path::new("")).to_owned(),
        };
        Name { folder, path }
    }

    fn close(&mut self, name: &Name, complete: bool) -> Option<Closed> {
        let mut open = self.open.remove(name)?;
        self.waiting -= open.members.len().min(self.waiting);
        open.members.sort_by(|a, b| a.key.path.cmp(&b.key.path));
        let text = crate::name::encode(&name.path);
        Some(Closed {
            // The watched folder itself: a subject without a character is none.
            name: if text.is_empty() {
                ".".into()
            } else {
                text.into_owned()
            },
            complete,
            members: open.members,
        })
    }
}

fn extension(path: &Path) -> Option<String> {
    Some(path.extension()?.to_str()?.to_lowercase())
}
