//! What was seen: by events, by looks, by scans.

use std::time::Instant;

use headgate_sdk::{SourceError, Str};

use super::{
    engine::{Engine, MAX_SHELF},
    index::Rest,
    jobs::{PutAway, ScanNews},
};
use crate::{
    config::Afterwards,
    ledger::FileEntry,
    stamp::Stamp,
    state::FileState,
    watch::{Hint, Key},
};

impl Engine {
    /// Whether a file that an event named is wanted, as scans decide it before they tell.
    pub(super) fn wants(&self, key: &Key, stamp: &Stamp) -> bool {
        self.plan.choice.wants_name(&key.path)
            && self.plan.choice.wants_size(stamp.size)
            && self.may_hold_files(key)
    }

    /// Whether the folders above a path are ones that scans enter.
    fn may_hold_files(&self, key: &Key) -> bool {
        let folder = &self.plan.folders[usize::from(key.folder)];
        key.path.ancestors().skip(1).all(|above| {
            above.file_name().is_none_or(|name| {
                self.plan.choice.wants_folder(name)
                    && folder.fits(above)
                    && !self.plan.is_shelf(folder, above)
            })
        })
    }

    pub(super) fn folder_appeared(&mut self, key: &Key, now: Instant) {
        let inside = Key::new(key.folder, key.path.join("file"));
        if self.may_hold_files(&inside) {
            self.folders[usize::from(key.folder)].appeared(key.path.to_path_buf(), now);
        }
    }

    pub(super) fn on_hints(&mut self) {
        let now = Instant::now();
        let pending = self.hints.take();
        if pending.rescan {
            metrics::counter!("headgate_files_rescans_total", "source" => self.source.name.to_string())
                .increment(1);
            self.tracker.events_lost();
            for folder in &mut self.folders {
                folder.rescan(now);
            }
        }
        if pending.exhausted {
            let message = "new folders are not watched but scanned, because the kernel's inotify watches are used up: raise the \
                           limit with `sysctl fs.inotify.max_user_watches=1048576`";
            self.status.warn("inotify", message);
        }
        for (path, hint) in pending.paths {
            let Some(key) = self.key(&path) else {
                continue;
            };
            let marked = key
                .path
                .file_name()
                .and_then(|name| self.plan.choice.marks(name));
            if let Some(marked) = marked {
                if hint != Hint::Gone {
                    let marked = Key::new(key.folder, key.path.with_file_name(marked));
                    self.tracker.hint(marked, Hint::Touched, now);
                }
            } else if hint == Hint::Folder {
                self.folder_appeared(&key, now);
            } else if self.plan.choice.wants_name(&key.path) || hint == Hint::Complete {
                // A renamed folder looks like a renamed file, and may have any name.
                if self.may_hold_files(&key) {
                    self.tracker.hint(key, hint, now);
                }
            }
        }
    }

    fn key(&self, path: &std::path::Path) -> Option<Key> {
        let (folder, rest) = self
            .roots
            .iter()
            .enumerate()
            .find_map(|(index, root)| Some((index, path.strip_prefix(root).ok()?)))?;
        let folder = u16::try_from(folder).unwrap_or(u16::MAX);
        (!rest.as_os_str().is_empty()).then(|| Key::new(folder, rest))
    }

    pub(super) async fn on_news(
        &mut self,
        folder: u16,
        number: u32,
        news: ScanNews,
    ) -> Result<(), SourceError> {
        let now = Instant::now();
        let watched = &mut self.folders[usize::from(folder)];
        match news {
            ScanNews::Opened {
                identity,
                watcher,
                unwatched,
            } => watched.opened(identity, watcher, unwatched, &self.status),
            ScanNews::Files(files) => {
                for (key, stamp) in files {
                    self.sight(key, stamp, number, now).await?;
                }
            }
            ScanNews::Trouble(path, error) => watched.trouble(&path, &error, &self.status),
            ScanNews::Done { whole } => {
                watched.scanned(&self.plan, now);
                if whole {
                    self.index.forget_unseen(folder, number);
                }
                self.release(now);
            }
            ScanNews::Missing(error) => {
                watched.missing(&error, &self.status, now);
                self.release(now);
            }
        }
        self.tell_state();
        Ok(())
    }

    /// Lets files go once no first scan is under way any more.
    fn release(&mut self, now: Instant) {
        if self
            .folders
            .iter()
            .all(|folder| !folder.scanning || folder.scanned)
        {
            self.tracker.release(now);
        }
    }

    /// A file was looked at: does it need anything?
    pub(super) async fn sight(
        &mut self,
        key: Key,
        stamp: Stamp,
        scan: u32,
        now: Instant,
    ) -> Result<(), SourceError> {
        let Some(tenant) = self.tenant(&key) else {
            self.tracker.forget(&key);
            return Ok(());
        };
        match self.index.sight(&key, &stamp, scan) {
            Some(Rest::Waiting) if self.shelf.len() < MAX_SHELF => {}
            Some(_) => {
                self.tracker.forget(&key);
                return Ok(());
            }
            None if self.growing.is_some() => {
                self.load_growing(&tenant).await?;
                self.lane(&tenant).await?;
                self.tracker.found(&key, stamp, now);
                return Ok(());
            }
            None => {}
        }
        let digest = self.entry_digest(&key);
        let lane = self.lane(&tenant).await?;
        if digest.is_some_and(|digest| !lane.may_know_digest(digest)) {
            self.tracker.found(&key, stamp, now);
            return Ok(());
        }
        let entry_key = self.file_key(&key);
        let lane = self.lane(&tenant).await?;
        let entry: Option<FileEntry> = lane.get(&entry_key).await?;
        match entry {
            Some(entry) if entry.stamp == stamp => {
                let on_its_way = lane.is_on_its_way(&entry_key);
                self.tracker.forget(&key);
                if on_its_way {
                    self.index.rest(&key, &stamp, Rest::Published, scan);
                } else {
                    self.at_rest(key, tenant, entry, scan, now);
                }
            }
            _ => {
                self.tracker.found(&key, stamp, now);
            }
        }
        Ok(())
    }

    /// A file lies in its folder whose version is durably known: it stays, or is still to be put away.
    fn at_rest(&mut self, key: Key, tenant: Str, mut entry: FileEntry, scan: u32, now: Instant) {
        let stamp = entry.stamp;
        if self.plan.afterwards == Afterwards::Leave {
            self.index.rest(&key, &stamp, Rest::Done, scan);
        } else if self.shelf.len() >= MAX_SHELF {
            self.index.rest(&key, &stamp, Rest::Waiting, scan);
        } else {
            self.index.rest(&key, &stamp, Rest::Leaving, scan);
            // A power cut may have undone a move that was noted.
            if entry.state != FileState::Failed {
                entry.state = FileState::Acknowledged;
            }
            self.shelf.push_back(PutAway {
                key,
                tenant,
                entry,
                not_before: now,
            });
        }
    }
}
