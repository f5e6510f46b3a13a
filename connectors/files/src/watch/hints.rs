//! Events of the file system as hints: coalesced per path, bounded, never trusted.
//!
//! Whatever is lost here (the kernel's queue ran over, too many paths at once) becomes one flag: scan again.

use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

use super::inotify::{self, News, Watch};

/// At most this many paths wait to be looked at; beyond that a scan finds them.
const MAX_PATHS: usize = 16_384;

/// What events said about one path, in short.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hint {
    /// Created, linked or changed in its attributes: look.
    Touched,
    /// Written to, and not closed since.
    Writing,
    /// Closed after writing, or renamed here.
    Complete,
    /// Removed, or renamed away.
    Gone,
    /// A folder appeared: what was put into it before it was watched is told by nobody.
    Folder,
}

/// What waits to be looked at.
#[derive(Debug, Default)]
pub struct Pending {
    /// Absolute paths and the newest hint of each.
    pub paths: HashMap<PathBuf, Hint>,
    /// Something was lost: scan everything.
    pub rescan: bool,
    /// New folders can no longer be watched, because the kernel's limit is reached.
    pub exhausted: bool,
}

/// Where events are collected. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Hints {
    pending: Arc<Mutex<Pending>>,
    wake: Arc<Notify>,
}

/// Watches one folder recursively for as long as it lives.
#[derive(Debug)]
pub struct Watcher {
    _inner: Watch,
}

/// Why a folder is not watched.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// Too many folders.
    #[error(
        "the kernel's inotify watches are used up: raise the limit with `sysctl fs.inotify.max_user_watches=1048576`; until then \
         this folder is scanned"
    )]
    Exhausted,
    /// Anything else.
    #[error("watching failed, so the folder is scanned instead: {0}")]
    Failed(#[source] io::Error),
}

impl Hints {
    /// Waits until something is pending. Cancel safe.
    pub async fn arrived(&self) {
        self.wake.notified().await;
    }

    /// Takes everything that is pending.
    #[must_use]
    pub fn take(&self) -> Pending {
        let mut pending = std::mem::take(&mut *self.lock());
        if pending.rescan {
            // That a file was closed may be in what was lost: nobody may wait for it.
            for hint in pending.paths.values_mut() {
                if *hint == Hint::Writing {
                    *hint = Hint::Touched;
                }
            }
        }
        pending
    }

    /// Watches `root` and everything below. Blocking: it walks the tree. Needs a runtime, which reads the events.
    ///
    /// # Errors
    /// [`WatchError`]; what could be watched before is given up again.
    pub fn watch(&self, root: &Path) -> Result<Watcher, WatchError> {
        let hints = self.clone();
        match inotify::watch(root, move |news| hints.handle(news)) {
            Ok(inner) => Ok(Watcher { _inner: inner }),
            Err(error) if error.raw_os_error() == Some(libc::ENOSPC) => Err(WatchError::Exhausted),
            Err(error) => Err(WatchError::Failed(error)),
        }
    }

    fn handle(&self, news: News) {
        let mut pending = self.lock();
        pending.rescan |= news.lost;
        pending.exhausted |= news.exhausted;
        for (path, hint) in news.hints {
            pending.add(path, hint);
        }
        drop(pending);
        self.wake.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pending {
    fn add(&mut self, path: PathBuf, hint: Hint) {
        if self.paths.len() >= MAX_PATHS && !self.paths.contains_key(&path) {
            self.rescan = true;
            return;
        }
        let known = self.paths.entry(path).or_insert(hint);
        // Attributes may change at any time; that says nothing about who writes.
        if !(hint == Hint::Touched
            && matches!(known, Hint::Writing | Hint::Complete | Hint::Folder))
        {
            *known = hint;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, time::Duration};

    use super::*;

    async fn pending_until(hints: &Hints, done: impl Fn(&Pending) -> bool) -> Pending {
        let mut all = Pending::default();
        tokio::time::timeout(Duration::from_secs(20), async {
            while !done(&all) {
                hints.arrived().await;
                let more = hints.take();
                all.rescan |= more.rescan;
                all.paths.extend(more.paths);
            }
        })
        .await
        .unwrap_or_else(|_| {
            panic!(
                "waited in vain; seen: {} paths, rescan {}",
                all.paths.len(),
                all.rescan
            )
        });
        all
    }

    #[tokio::test]
    async fn tells_written_renamed_linked_and_removed_apart() {
        let root = tempfile::tempdir().unwrap();
        let hints = Hints::default();
        let _watcher = hints.watch(root.path()).unwrap();
        let path = |name: &str| root.path().join(name);
        fs::write(path("written"), b"x").unwrap();
        fs::rename(path("written"), path("renamed")).unwrap();
        fs::hard_link(path("renamed"), path("linked")).unwrap();
        fs::create_dir(path("folder")).unwrap();
        let open = fs::File::create(path("open")).unwrap();
        std::io::Write::write_all(&mut &open, b"half").unwrap();
        fs::write(path("last"), b"x").unwrap();
        let all = pending_until(&hints, |p| {
            p.paths.get(&path("last")) == Some(&Hint::Complete)
        })
        .await;
        let seen = |name| all.paths.get(&path(name)).copied();
        assert_eq!(seen("written"), Some(Hint::Gone));
        assert_eq!(seen("renamed"), Some(Hint::Complete));
        assert_eq!(seen("linked"), Some(Hint::Touched));
        assert_eq!(seen("folder"), Some(Hint::Folder));
        assert_eq!(seen("open"), Some(Hint::Writing));
        assert!(!all.rescan);
    }

    #[tokio::test]
    async fn a_real_overflow_of_the_kernels_queue_asks_for_a_scan() {
        let limit: usize = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events")
            .unwrap()
            .trim()
            .parse()
            .unwrap();
        let root = tempfile::tempdir().unwrap();
        let hints = Hints::default();
        let _watcher = hints.watch(root.path()).unwrap();
        {
            // The reader stops here, at the first event that it wants to hand over.
            let _paused = hints.lock();
            // Two names in turn, because the kernel joins an event with an equal one before it.
            for _ in 0..=limit {
                fs::write(root.path().join("a"), b"").unwrap();
                fs::remove_file(root.path().join("a")).unwrap();
            }
        }
        let all = pending_until(&hints, |p| p.rescan).await;
        assert!(all.paths.len() <= MAX_PATHS);
    }

    #[test]
    fn more_paths_than_fit_become_a_scan() {
        let mut pending = Pending::default();
        for n in 0..=MAX_PATHS {
            pending.add(PathBuf::from(n.to_string()), Hint::Touched);
        }
        assert!(pending.rescan);
        assert_eq!(pending.paths.len(), MAX_PATHS);
    }

    #[test]
    fn nobody_waits_for_a_close_that_may_be_lost() {
        let hints = Hints::default();
        let path = PathBuf::from("a");
        let written = |lost| News {
            hints: vec![(path.clone(), Hint::Writing)],
            lost,
            exhausted: false,
        };
        hints.handle(written(false));
        assert_eq!(hints.take().paths[&path], Hint::Writing);
        hints.handle(written(true));
        let pending = hints.take();
        assert!(pending.rescan);
        assert_eq!(pending.paths[&path], Hint::Touched);
    }

    #[test]
    fn attributes_do_not_hide_that_somebody_writes() {
        let mut pending = Pending::default();
        let path = PathBuf::from("a");
        pending.add(path.clone(), Hint::Writing);
        pending.add(path.clone(), Hint::Touched);
        assert_eq!(pending.paths[&path], Hint::Writing);
        pending.add(path.clone(), Hint::Complete);
        assert_eq!(pending.paths[&path], Hint::Complete);
    }
}
