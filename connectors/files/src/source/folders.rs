//! The folders of a source: watched, scanned, lost and found again.

use std::{
    collections::{BTreeSet, HashSet},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use headgate_sdk::status::Status;

use super::jobs::Identity;
use crate::{
    config::{Folder, Plan},
    name,
    watch::Watcher,
};

/// More new folders at once than this are found by a scan of everything.
const MAX_PARTS: usize = 64;

/// So many unreadable places are named in warnings.
const MAX_NAMED: usize = 8;

/// One folder.
pub(crate) struct Watched {
    /// Absolute.
    pub(crate) root: PathBuf,
    configured: String,
    identity: Option<Identity>,
    watcher: Option<Watcher>,
    /// Number of the newest scan of the whole folder.
    pub(crate) scan_number: u32,
    /// Whether a scan is under way.
    pub(crate) scanning: bool,
    next_scan: Instant,
    /// Folders below that are to be scanned at once.
    parts: BTreeSet<PathBuf>,
    troubles: HashSet<String>,
    settle: Duration,
    /// Whether the folder was scanned as a whole since it is there.
    pub(crate) scanned: bool,
    /// How many scans of the whole folder have ended.
    pub(crate) scans: u64,
    whole: bool,
}

/// What to scan next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NextScan {
    pub(crate) start: PathBuf,
    /// Whether a watcher is to be made first.
    pub(crate) watch: bool,
}

impl Watched {
    pub(crate) fn new(folder: &Folder, root: PathBuf, settle: Duration, now: Instant) -> Self {
        Self {
            root,
            configured: folder.configured.to_string(),
            identity: None,
            watcher: None,
            scan_number: 0,
            scanning: false,
            next_scan: now,
            parts: BTreeSet::new(),
            troubles: HashSet::new(),
            settle,
            scanned: false,
            scans: 0,
            whole: false,
        }
    }

    /// Whether it can be read at present.
    pub(crate) fn is_there(&self) -> bool {
        self.identity.is_some()
    }

    /// Everything is to be scanned as soon as possible.
    pub(crate) fn rescan(&mut self, now: Instant) {
        self.next_scan = self.next_scan.min(now);
    }

    /// A folder appeared below. What was put into it before it was watched is told by nobody, so it is scanned. It, and those below it,
    /// are watched before anybody hears of it: one scan is enough.
    pub(crate) fn appeared(&mut self, path: PathBuf, now: Instant) {
        if self.parts.len() >= MAX_PARTS {
            self.parts.clear();
            self.rescan(now);
        } else {
            self.parts.insert(path);
        }
    }

    /// What to scan now, if anything and no scan is under way.
    pub(crate) fn take_scan(&mut self, now: Instant) -> Option<NextScan> {
        if self.scanning {
            return None;
        }
        if self.next_scan <= now {
            self.scanning = true;
            self.scan_number += 1;
            self.whole = true;
            self.next_scan = now + Duration::from_secs(24 * 3600);
            return Some(NextScan {
                start: PathBuf::new(),
                watch: self.watcher.is_none(),
            });
        }
        let start = self.parts.pop_first()?;
        self.scanning = true;
        Some(NextScan {
            start,
            watch: false,
        })
    }

    /// When [`take_scan`](Self::take_scan) has something.
    pub(crate) fn next_scan(&self, now: Instant) -> Option<Instant> {
        if self.scanning {
            return None;
        }
        let parts = (!self.parts.is_empty()).then_some(now);
        Some(parts.map_or(self.next_scan, |at| at.min(self.next_scan)))
    }

    /// A scan found the folder.
    pub(crate) fn opened(
        &mut self,
        identity: Identity,
        watcher: Option<Watcher>,
        unwatched: Option<String>,
        status: &Status,
    ) {
        self.identity = Some(identity);
        status.clear(&self.key("missing"));
        if watcher.is_some() {
            self.watcher = watcher;
        }
        match unwatched {
            Some(why) => status.warn(self.key("unwatched"), format!("{}: {why}", self.configured)),
            None => status.clear(&self.key("unwatched")),
        }
    }

    /// A scan of the whole folder begins: troubles of the last one are told again if they last.
    pub(crate) fn forget_troubles(&mut self, status: &Status) {
        for key in self.troubles.drain() {
            status.clear(&key);
        }
    }

    /// Something below cannot be looked at.
    pub(crate) fn trouble(&mut self, path: &Path, error: &std::io::Error, status: &Status) {
        if self.troubles.len() >= MAX_NAMED {
            return;
        }
        let path = name::encode(&self.root.join(path)).into_owned();
        let key = format!("unreadable:{path}");
        let message = format!(
            "{path}: {error}; let the user that Headgate runs as read it (and list it, if it is a folder)"
        );
        status.warn(key.clone(), message);
        self.troubles.insert(key);
    }

    /// A scan ended; the next one follows in time.
    pub(crate) fn scanned(&mut self, plan: &Plan, now: Instant) {
        self.scanning = false;
        if std::mem::take(&mut self.whole) {
            self.scanned = true;
            self.scans += 1;
        }
        let interval = if self.watcher.is_some() {
            plan.scan_interval
        } else {
            plan.poll_interval
        };
        self.next_scan = self.next_scan.min(now + interval);
    }

    /// The folder cannot be read. It is tried again soon, and watched anew when it is back.
    pub(crate) fn missing(&mut self, error: &std::io::Error, status: &Status, now: Instant) {
        self.scanning = false;
        self.scanned = false;
        self.identity = None;
        self.watcher = None;
        self.next_scan = now
            + self
                .settle
                .clamp(Duration::from_millis(100), Duration::from_secs(5));
        let message = format!(
            "{}: {error}; mount the share, create the folder, or let the user that Headgate runs as read it: it is watched as soon as \
             it is there",
            self.configured
        );
        status.warn(self.key("missing"), message);
    }

    /// Compares the folder with what it was: another one in its place, or none, means that the watch is of no use any more.
    pub(crate) fn checked(&mut self, now_there: Option<Identity>, now: Instant) {
        if self.identity.is_some() && now_there != self.identity {
            self.watcher = None;
            self.identity = None;
            self.rescan(now);
        }
    }

    fn key(&self, what: &str) -> String {
        format!("{what}:{}", self.configured)
    }
}
