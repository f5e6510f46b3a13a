//! Events of a folder tree from the kernel, see inotify(7).
//!
//! Asked for is only what may complete, change or remove a file. Programs that read files, which Headgate itself does with each of
//! them, cause no events; a library that also asks for those costs a tenth of the work of taking a small file.
//!
//! State: one descriptor, and the path of each watched folder. A task reads the events for as long as the [`Watch`] lives.

use std::{
    collections::HashMap,
    ffi::OsStr,
    fs, io,
    mem::MaybeUninit,
    os::{fd::OwnedFd, unix::ffi::OsStrExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::{
    fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags},
    io::Errno,
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    runtime::Handle,
    task::AbortHandle,
};

use super::hints::Hint;

/// So many bytes of events are read at once: some thousand events.
const BUFFER_BYTES: usize = 64 * 1024;

/// What the events of one reading said.
#[derive(Debug, Default)]
pub(super) struct News {
    /// Absolute paths, in the order of the events.
    pub(super) hints: Vec<(PathBuf, Hint)>,
    /// Events were lost, or can no longer be read.
    pub(super) lost: bool,
    /// A folder that appeared is not watched, because there are too many.
    pub(super) exhausted: bool,
}

/// Ends the watching when dropped.
#[derive(Debug)]
pub(super) struct Watch(AbortHandle);

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Watches `root` and all folders below, and calls `tell` with what happens. Blocks while it walks the tree; needs a runtime.
///
/// # Errors
/// The kernel's: `ENOSPC` if there are too many folders. Nothing is watched then.
pub(super) fn watch(root: &Path, tell: impl Fn(News) + Send + 'static) -> io::Result<Watch> {
    let descriptor = Arc::new(inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?);
    let mut tree = Tree {
        descriptor,
        root: root.to_owned(),
        folders: HashMap::new(),
    };
    tree.add(root)?;
    let runtime = Handle::current();
    let entered = runtime.enter();
    let events = readable(Arc::clone(&tree.descriptor))?;
    drop(entered);
    let task = runtime.spawn(tree.follow(events, tell));
    Ok(Watch(task.abort_handle()))
}

#[expect(
    unsafe_code,
    reason = "asks for the promise that the descriptor stays open"
)]
fn readable(descriptor: Arc<OwnedFd>) -> io::Result<AsyncFd<Arc<OwnedFd>>> {
    // SAFETY: what is registered owns a share of the descriptor and gives out the same one each time, so it is open for as long as
    // it is registered.
    unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE) }
        .map_err(|error| error.into_parts().1)
}

struct Tree {
    descriptor: Arc<OwnedFd>,
    root: PathBuf,
    folders: HashMap<i32, PathBuf>,
}

impl Tree {
    async fn follow(mut self, events: AsyncFd<Arc<OwnedFd>>, tell: impl Fn(News)) {
        let mut buffer = vec![MaybeUninit::uninit(); BUFFER_BYTES];
        loop {
            let Ok(mut ready) = events.readable().await else {
                return;
            };
            let mut news = News::default();
            let ended = match self.read(&mut buffer, &mut news) {
                Err(Errno::WOULDBLOCK) => {
                    ready.clear_ready();
                    false
                }
                Err(Errno::INTR) | Ok(()) => false,
                Err(_) => {
                    news.lost = true;
                    true
                }
            };
            if news.lost || !news.hints.is_empty() {
                tell(news);
            }
            if ended {
                return;
            }
        }
    }

    /// Reads the events that wait, up to a full buffer.
    fn read(&mut self, buffer: &mut [MaybeUninit<u8>], news: &mut News) -> Result<(), Errno> {
        let descriptor = Arc::clone(&self.descriptor);
        let mut reader = Reader::new(&descriptor, buffer);
        loop {
            let event = reader.next()?;
            let name = event
                .file_name()
                .map(|name| OsStr::from_bytes(name.to_bytes()));
            self.take(event.wd(), event.events(), name, news);
            if reader.is_buffer_empty() {
                return Ok(());
            }
        }
    }

    fn take(&mut self, folder: i32, events: ReadFlags, name: Option<&OsStr>, news: &mut News) {
        if events.contains(ReadFlags::QUEUE_OVERFLOW) {
            news.lost = true;
            // Folders that appeared in what was lost.
            let root = self.root.clone();
            self.add_appeared(&root, news);
            return;
        }
        if events.contains(ReadFlags::IGNORED) {
            self.folders.remove(&folder);
            return;
        }
        let (Some(parent), Some(name)) = (self.folders.get(&folder), name) else {
            return;
        };
        let path = parent.join(name);
        let is_folder = events.contains(ReadFlags::ISDIR);
        // One that could not be read may be readable now.
        let appears = ReadFlags::CREATE | ReadFlags::MOVED_TO | ReadFlags::ATTRIB;
        if is_folder && events.intersects(appears) {
            self.add_appeared(&path, news);
        } else if is_folder && events.intersects(ReadFlags::MOVED_FROM) {
            self.remove(&path);
        }
        if let Some(hint) = hint(events, is_folder) {
            news.hints.push((path, hint));
        }
    }

    fn add_appeared(&mut self, folder: &Path, news: &mut News) {
        // One that has vanished again needs no watch.
        if let Err(error) = self.add(folder)
            && error.raw_os_error() == Some(libc::ENOSPC)
        {
            news.lost = true;
            news.exhausted = true;
        }
    }

    /// Watches a folder and those below it.
    fn add(&mut self, top: &Path) -> io::Result<()> {
        let mut waiting = vec![top.to_owned()];
        while let Some(folder) = waiting.pop() {
            let is_root = folder == self.root;
            let mut flags = WatchFlags::CREATE
                | WatchFlags::ATTRIB
                | WatchFlags::MODIFY
                | WatchFlags::CLOSE_WRITE
                | WatchFlags::MOVED_FROM
                | WatchFlags::MOVED_TO
                | WatchFlags::DELETE
                | WatchFlags::ONLYDIR;
            if !is_root {
                flags |= WatchFlags::DONT_FOLLOW;
            }
            match inotify::add_watch(&self.descriptor, &folder, flags) {
                Ok(watch) => self.folders.insert(watch, folder.clone()),
                // Vanished, or not readable, which is for scans to tell.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::ACCESS | Errno::LOOP) if !is_root => {
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            // Listed once it is watched, so that nothing falls in between.
            let Ok(entries) = fs::read_dir(&folder) else {
                continue;
            };
            for entry in entries.map_while(Result::ok) {
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    waiting.push(entry.path());
                }
            }
        }
        Ok(())
    }

    /// Forgets a folder that was moved away, and those below it.
    fn remove(&mut self, top: &Path) {
        let descriptor = &self.descriptor;
        self.folders.retain(|watch, path| {
            let below = path.starts_with(top);
            if below {
                let _gone_already = inotify::remove_watch(descriptor, *watch);
            }
            !below
        });
    }
}

fn hint(events: ReadFlags, is_folder: bool) -> Option<Hint> {
    let any = |flags| events.intersects(flags);
    Some(if any(ReadFlags::MOVED_FROM | ReadFlags::DELETE) {
        Hint::Gone
    } else if is_folder && any(ReadFlags::CREATE | ReadFlags::MOVED_TO) {
        Hint::Folder
    } else if any(ReadFlags::CLOSE_WRITE | ReadFlags::MOVED_TO) {
        Hint::Complete
    } else if any(ReadFlags::MODIFY) {
        Hint::Writing
    } else if any(ReadFlags::CREATE | ReadFlags::ATTRIB) {
        Hint::Touched
    } else {
        return None;
    })
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, time::Duration};

    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn reading_a_file_causes_no_event_and_renamed_folders_stay_watched() {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        fs::create_dir_all(path("a/b")).unwrap();
        fs::write(path("a/b/old"), b"x").unwrap();
        let (tell, told) = mpsc::sync_channel(1000);
        let _watch = watch(root.path(), move |news: News| {
            for hint in news.hints {
                let _test_ended = tell.send(hint);
            }
        })
        .unwrap();
        let next = || told.recv_timeout(Duration::from_secs(20)).unwrap();
        fs::read(path("a/b/old")).unwrap();
        fs::rename(path("a"), path("moved")).unwrap();
        assert_eq!(next(), (path("a"), Hint::Gone));
        assert_eq!(next(), (path("moved"), Hint::Folder));
        fs::remove_file(path("moved/b/old")).unwrap();
        assert_eq!(next(), (path("moved/b/old"), Hint::Gone));
        fs::create_dir(path("moved/b/new")).unwrap();
        assert_eq!(next(), (path("moved/b/new"), Hint::Folder));
        fs::write(path("moved/b/new/file"), b"x").unwrap();
        while next() != (path("moved/b/new/file"), Hint::Complete) {}
    }

    #[tokio::test]
    async fn a_folder_that_is_not_there_is_an_error() {
        let root = tempfile::tempdir().unwrap();
        let error = watch(&root.path().join("gone"), |_| {}).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
