//! What blocks: looking, reading and putting away, in lots, on threads of their own.

use std::{
    fs, io,
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use headgate_sdk::Str;
use tokio::sync::mpsc;

use crate::{
    afterwards::{self, Published, Shelved},
    config::{Afterwards, Plan, Watch},
    ledger::FileEntry,
    read::{Reading, content, open::Root},
    stamp::Stamp,
    state::FileState,
    watch::{Candidate, Hints, Key, WatchError, Watcher, place, walk},
};

/// Files of a lot: enough to make one event loop turn worth it, few enough to stay short.
pub(crate) const LOT: usize = 512;

/// Which directory a path is: device and inode.
pub(crate) type Identity = (u64, u64);

/// What a look at a path found.
#[derive(Debug)]
pub(crate) enum Look {
    File(Stamp),
    Folder,
    Nothing,
}

/// Looks at files of `roots` (by folder).
pub(crate) fn look(roots: &[PathBuf], keys: Vec<Key>) -> Vec<(Key, Look)> {
    keys.into_iter()
        .map(|key| {
            let root = &roots[usize::from(key.folder)];
            let found = look_at(root, &key.path);
            (key, found)
        })
        .collect()
}

fn look_at(root: &Path, path: &Path) -> Look {
    let path = root.join(path);
    let Ok(metadata) = fs::symlink_metadata(&path) else {
        return Look::Nothing;
    };
    if metadata.is_dir() {
        return Look::Folder;
    }
    let metadata = if metadata.is_symlink() {
        let inside = fs::canonicalize(&path)
            .and_then(|target| Ok(target.starts_with(fs::canonicalize(root)?)))
            .unwrap_or(false);
        match fs::metadata(&path) {
            Ok(metadata) if inside => metadata,
            _ => return Look::Nothing,
        }
    } else {
        metadata
    };
    if metadata.is_file() {
        Look::File(Stamp::of(&metadata))
    } else {
        Look::Nothing
    }
}

/// A file that is due.
#[derive(Debug)]
pub(crate) struct Due {
    pub(crate) key: Key,
    pub(crate) candidate: Candidate,
    pub(crate) stamp: Stamp,
}

/// What reading a lot found; `None` stands for a file that waits for its marker.
pub(crate) type ReadLot = Vec<(Key, Candidate, Option<Reading>)>;

/// Reads files that are due.
pub(crate) fn read(
    roots: &[PathBuf],
    due: Vec<Due>,
    inline_bytes: u64,
    marker: Option<&str>,
) -> ReadLot {
    let mut opened: Option<(u16, io::Result<Root>)> = None;
    let mut scratch = Vec::new();
    due.into_iter()
        .map(|due| {
            let root = &roots[usize::from(due.key.folder)];
            if opened.as_ref().is_none_or(|(of, _)| *of != due.key.folder) {
                opened = Some((due.key.folder, Root::open(root)));
            }
            let marked = marker.is_none_or(|suffix| {
                fs::symlink_metadata(marker_of(&root.join(&due.key.path), suffix)).is_ok()
            });
            let reading = marked.then(|| match &opened {
                Some((_, Ok(open))) => {
                    let path = &due.key.path;
                    content::read_in(open, root, path, due.stamp, inline_bytes, &mut scratch)
                        .unwrap_or_else(content::failed)
                }
                // Told for each file by itself.
                _ => content::read(root, &due.key.path, due.stamp, inline_bytes),
            });
            (due.key, due.candidate, reading)
        })
        .collect()
}

fn marker_of(path: &Path, suffix: &str) -> PathBuf {
    let mut marker = path.as_os_str().to_owned();
    marker.push(suffix);
    marker.into()
}

/// A durable file that is to be put away.
#[derive(Debug)]
pub(crate) struct PutAway {
    pub(crate) key: Key,
    pub(crate) tenant: Str,
    pub(crate) entry: FileEntry,
    pub(crate) not_before: Instant,
}

/// Puts files away, as the plan says.
pub(crate) fn put_away(
    plan: &Plan,
    roots: &[PathBuf],
    lot: Vec<PutAway>,
) -> Vec<(PutAway, io::Result<Shelved>)> {
    lot.into_iter()
        .map(|item| {
            let result = put_one_away(plan, roots, &item);
            (item, result)
        })
        .collect()
}

fn put_one_away(plan: &Plan, roots: &[PathBuf], item: &PutAway) -> io::Result<Shelved> {
    let index = usize::from(item.key.folder);
    let path = roots[index].join(&item.key.path);
    let hash = blake3::Hash::from_hex(item.entry.hash.as_bytes())
        .map_err(|error| io::Error::other(format!("the stored hash is damaged: {error}")))?;
    let file = Published {
        path: &path,
        stamp: item.entry.stamp,
        hash,
    };
    let (home, relative) = plan.folders[index].split_home(&item.key.path);
    let home = roots[index].join(
        home.strip_prefix(&plan.folders[index].root)
            .unwrap_or(&home),
    );
    let shelved = if item.entry.state == FileState::Failed {
        let reason = item.entry.why.as_deref().unwrap_or("unknown");
        let at = jiff::Timestamp::from_second(item.entry.since).unwrap_or_default();
        let note = afterwards::note(&path, reason, at);
        afterwards::shelve_failed(file, &home.join(&plan.failed), &relative, &note)?
    } else {
        match plan.afterwards {
            Afterwards::Leave => return Ok(Shelved::Gone),
            Afterwards::Move => afterwards::shelve(file, &home.join(&plan.processed), &relative)?,
            Afterwards::Delete => afterwards::delete(file)?,
        }
    };
    if let Some(suffix) = plan.choice.marker()
        && shelved != Shelved::Replaced
    {
        let _not_there = fs::remove_file(marker_of(&path, suffix));
    }
    Ok(shelved)
}

/// What a scan tells, in this order: opened, any number of chunks and troubles, done.
pub(crate) enum ScanNews {
    /// The folder is there, and is watched if it can be.
    Opened {
        identity: Identity,
        /// A new watcher, if one was asked for.
        watcher: Option<Watcher>,
        /// Why it is not watched.
        unwatched: Option<String>,
    },
    /// Wanted files.
    Files(Vec<(Key, Stamp)>),
    /// Something that cannot be looked at.
    Trouble(PathBuf, io::Error),
    /// The end. `whole` if all of the folder was seen.
    Done { whole: bool },
    /// The folder itself cannot be read.
    Missing(io::Error),
}

/// What a scan tells, with its folder and number.
pub(crate) type Told = (u16, u32, ScanNews);

/// A scan of one folder or a part of it.
pub(crate) struct Scan {
    pub(crate) plan: Arc<Plan>,
    pub(crate) folder: u16,
    pub(crate) root: PathBuf,
    /// Where it starts; empty for the whole folder.
    pub(crate) start: PathBuf,
    /// Where a watcher sends its hints, if one is to be made first.
    pub(crate) watch: Option<Hints>,
    pub(crate) number: u32,
    pub(crate) news: mpsc::Sender<Told>,
}

impl Scan {
    /// Scans. Blocks while nobody takes the news, so that memory stays bounded; ends early when nobody ever will.
    pub(crate) fn run(self) {
        let opened = identity(&self.root).and_then(|identity| {
            let (watcher, unwatched) = self.watch()?;
            let opened = ScanNews::Opened {
                identity,
                watcher,
                unwatched,
            };
            Ok(opened)
        });
        match opened {
            Ok(opened) => {
                if self.tell(opened).is_continue() {
                    self.walk();
                }
            }
            Err(error) => {
                let _engine_ended = self.tell(ScanNews::Missing(error));
            }
        }
    }

    /// Makes a watcher before anything is listed, so that nothing falls in between.
    fn watch(&self) -> io::Result<(Option<Watcher>, Option<String>)> {
        let Some(hints) = &self.watch else {
            return Ok((None, None));
        };
        let remote = place::remote_file_system(&self.root)?;
        Ok(match (self.plan.watch, remote) {
            (Watch::Poll, _) => (None, None),
            (Watch::Auto, Some(_)) => (None, None),
            _ => match hints.watch(&self.root) {
                Ok(watcher) => (Some(watcher), None),
                Err(error @ (WatchError::Exhausted | WatchError::Failed(_))) => {
                    (None, Some(error.to_string()))
                }
            },
        })
    }

    fn walk(&self) {
        let folder = &self.plan.folders[usize::from(self.folder)];
        let enter = |path: &Path| {
            path.file_name()
                .is_some_and(|name| self.plan.choice.wants_folder(name))
                && folder.fits(path)
                && !self.plan.is_shelf(folder, path)
        };
        let mut files = Vec::with_capacity(LOT);
        let mut whole = self.start.as_os_str().is_empty();
        let walked = walk::walk(
            &self.root,
            &self.start,
            &enter,
            &mut |met| match self.restored(met) {
                walk::Met::File(path, stamp) => {
                    if self.plan.choice.wants_name(&path) && self.plan.choice.wants_size(stamp.size)
                    {
                        files.push((Key::new(self.folder, path), stamp));
                    }
                    if files.len() < LOT {
                        return ControlFlow::Continue(());
                    }
                    self.tell(ScanNews::Files(std::mem::replace(
                        &mut files,
                        Vec::with_capacity(LOT),
                    )))
                }
                walk::Met::Trouble(path, error) => {
                    whole = false;
                    self.tell(ScanNews::Trouble(path, error))
                }
            },
        );
        let last = match walked {
            Ok(()) => ScanNews::Done { whole },
            // A part that vanished is no trouble; the whole is.
            Err(_) if !self.start.as_os_str().is_empty() => ScanNews::Done { whole: false },
            Err(error) => ScanNews::Missing(error),
        };
        if self.tell(ScanNews::Files(files)).is_continue() {
            let _engine_ended = self.tell(last);
        }
    }

    /// What a crash left behind while it was being deleted is met under its own name.
    fn restored(&self, met: walk::Met) -> walk::Met {
        let walk::Met::File(path, stamp) = met else {
            return met;
        };
        // Nearly every file is asked this in every scan.
        if !afterwards::may_be_left_over(&path) {
            return walk::Met::File(path, stamp);
        }
        let found = afterwards::restore(&self.root.join(&path)).and_then(|restored| {
            let Some(restored) = restored else {
                return Ok((path.clone(), stamp));
            };
            let name = restored.file_name().unwrap_or_default();
            Ok((
                path.with_file_name(name),
                Stamp::of(&fs::metadata(&restored)?),
            ))
        });
        match found {
            Ok((path, stamp)) => walk::Met::File(path, stamp),
            Err(error) => walk::Met::Trouble(path, error),
        }
    }

    fn tell(&self, news: ScanNews) -> ControlFlow<()> {
        match self.news.blocking_send((self.folder, self.number, news)) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    }
}

/// Which directory `path` is now.
pub(crate) fn identity(path: &Path) -> io::Result<Identity> {
    use std::os::unix::fs::MetadataExt as _;
    let metadata = fs::metadata(path)?;
    if !metadata.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    Ok((metadata.dev(), metadata.ino()))
}
