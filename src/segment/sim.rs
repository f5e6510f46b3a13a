//! A file system in memory whose power can be cut: what was not synced is forgotten, torn or reordered.
//!
//! A write that was not followed by a sync of its file survives a cut sector by sector, each or not; creations, renames and
//! removals that were not followed by a sync of the directory survive up to a random one, in order.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::files::{FileLayer, LogFile};

const SECTOR: usize = 512;

/// A small reproducible random number generator (xorshift64*).
#[derive(Debug, Clone)]
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) % bound.max(1)
    }
}

/// A fault that is injected into one operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    SyncFails,
    WriteFails,
    DiskFull,
}

/// The simulated disk. Clones share it.
#[derive(Clone)]
pub(crate) struct SimFiles {
    disk: Arc<Mutex<Disk>>,
}

#[derive(Default)]
struct Disk {
    inodes: Vec<Inode>,
    /// What programs see.
    names: BTreeMap<PathBuf, usize>,
    /// What survives a cut.
    durable_names: BTreeMap<PathBuf, usize>,
    unsynced_names: Vec<NameChange>,
    ignore_sync: bool,
    /// The power goes when this many more writes, syncs or directory changes have happened.
    operations_left: Option<u64>,
    fault: Option<Fault>,
    allocated_max: Option<u64>,
    bytes_read: u64,
    off: bool,
}

#[derive(Default)]
struct Inode {
    content: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<(usize, Vec<u8>)>,
}

#[derive(Clone)]
enum NameChange {
    Link(PathBuf, usize),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
}

impl NameChange {
    fn apply(self, names: &mut BTreeMap<PathBuf, usize>) {
        match self {
            Self::Link(path, inode) => {
                names.insert(path, inode);
            }
            Self::Rename(from, to) => {
                if let Some(inode) = names.remove(&from) {
                    names.insert(to, inode);
                }
            }
            Self::Remove(path) => {
                names.remove(&path);
            }
        }
    }
}

impl SimFiles {
    pub(crate) fn new() -> Self {
        Self {
            disk: Arc::default(),
        }
    }

    /// Syncs return success and do nothing.
    pub(crate) fn ignoring_sync() -> Self {
        let files = Self::new();
        files.disk.lock().ignore_sync = true;
        files
    }

    /// Cuts the power in the middle of the `n`th operation from now that changes something.
    pub(crate) fn cut_after(&self, n: u64) {
        self.disk.lock().operations_left = Some(n);
    }

    /// Cuts the power now.
    pub(crate) fn cut(&self) {
        self.disk.lock().off = true;
    }

    pub(crate) fn inject(&self, fault: Option<Fault>) {
        self.disk.lock().fault = fault;
    }

    pub(crate) fn limit_allocation(&self, bytes: Option<u64>) {
        self.disk.lock().allocated_max = bytes;
    }

    /// How much was read from files so far.
    pub(crate) fn bytes_read(&self) -> u64 {
        self.disk.lock().bytes_read
    }

    pub(crate) fn is_off(&self) -> bool {
        self.disk.lock().off
    }

    /// The disk as it is found when the power is back.
    pub(crate) fn after_cut(&self, rng: &mut Rng) -> Self {
        let disk = self.disk.lock();
        let mut names = disk.durable_names.clone();
        let survivors = rng.below(disk.unsynced_names.len() as u64 + 1) as usize;
        for change in disk.unsynced_names.iter().take(survivors).cloned() {
            change.apply(&mut names);
        }
        let inodes = disk
            .inodes
            .iter()
            .map(|inode| inode.after_cut(rng))
            .collect();
        let fresh = Disk {
            inodes,
            durable_names: names.clone(),
            names,
            ignore_sync: disk.ignore_sync,
            ..Disk::default()
        };
        Self {
            disk: Arc::new(Mutex::new(fresh)),
        }
    }

    /// The content of a file, to be tampered with.
    pub(crate) fn edit(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let mut disk = self.disk.lock();
        let inode = disk.names[path];
        let inode = &mut disk.inodes[inode];
        change(&mut inode.content);
        inode.durable = inode.content.clone();
    }

    pub(crate) fn paths(&self) -> Vec<PathBuf> {
        self.disk.lock().names.keys().cloned().collect()
    }
}

impl Inode {
    fn after_cut(&self, rng: &mut Rng) -> Self {
        let mut content = self.durable.clone();
        // Half of the cuts keep about half of the sectors, the others nearly all or nearly none.
        let keep_in_8 = [1, 4, 4, 7][rng.below(4) as usize];
        for (offset, bytes) in &self.unsynced {
            let mut at = 0;
            while at < bytes.len() {
                let place = offset + at;
                let length = (SECTOR - place % SECTOR).min(bytes.len() - at);
                if rng.below(8) < keep_in_8 {
                    if content.len() < place + length {
                        content.resize(place + length, 0);
                    }
                    content[place..place + length].copy_from_slice(&bytes[at..at + length]);
                }
                at += length;
            }
        }
        Self {
            durable: content.clone(),
            content,
            unsynced: Vec::new(),
        }
    }
}

impl Disk {
    fn change(&mut self) -> io::Result<()> {
        self.check()?;
        if let Some(left) = &mut self.operations_left {
            if *left == 0 {
                self.off = true;
            } else {
                *left -= 1;
            }
        }
        Ok(())
    }

    fn check(&self) -> io::Result<()> {
        if self.off {
            Err(io::Error::other("the power is off"))
        } else {
            Ok(())
        }
    }

    fn rename_now(&mut self, change: NameChange) -> io::Result<()> {
        self.change()?;
        change.clone().apply(&mut self.names);
        self.unsynced_names.push(change);
        self.check()
    }
}

struct SimFile {
    disk: Arc<Mutex<Disk>>,
    inode: usize,
}

impl FileLayer for SimFiles {
    fn create_dir(&self, _dir: &Path) -> io::Result<()> {
        self.disk.lock().check()
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let disk = self.disk.lock();
        disk.check()?;
        let here = disk.names.keys().filter(|path| path.parent() == Some(dir));
        Ok(here
            .filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()))
            .collect())
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn LogFile>> {
        let mut disk = self.disk.lock();
        if disk.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let inode = disk.inodes.len();
        disk.inodes.push(Inode::default());
        disk.rename_now(NameChange::Link(path.into(), inode))?;
        Ok(Arc::new(SimFile {
            disk: self.disk.clone(),
            inode,
        }))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn LogFile>> {
        let disk = self.disk.lock();
        disk.check()?;
        let inode = *disk.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(SimFile {
            disk: self.disk.clone(),
            inode,
        }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk
            .lock()
            .rename_now(NameChange::Rename(from.into(), to.into()))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.lock().rename_now(NameChange::Remove(path.into()))
    }

    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        let mut disk = self.disk.lock();
        disk.change()?;
        disk.check()?;
        if !disk.ignore_sync {
            for change in std::mem::take(&mut disk.unsynced_names) {
                change.apply(&mut disk.durable_names);
            }
        }
        Ok(())
    }
}

impl LogFile for SimFile {
    fn length(&self) -> io::Result<u64> {
        let disk = self.disk.lock();
        disk.check()?;
        Ok(disk.inodes[self.inode].content.len() as u64)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        let mut disk = self.disk.lock();
        disk.change()?;
        let used: usize = disk
            .names
            .values()
            .map(|inode| disk.inodes[*inode].content.len())
            .sum();
        if disk
            .allocated_max
            .is_some_and(|max| used as u64 + len > max)
        {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let inode = &mut disk.inodes[self.inode];
        inode.content.resize(len as usize, 0);
        inode.durable.resize(len as usize, 0);
        disk.check()
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut disk = self.disk.lock();
        match disk.fault {
            Some(Fault::WriteFails) => return Err(io::Error::other("write failed")),
            Some(Fault::DiskFull) => return Err(io::ErrorKind::StorageFull.into()),
            _ => {}
        }
        disk.change()?;
        let inode = &mut disk.inodes[self.inode];
        let (start, end) = (offset as usize, offset as usize + bytes.len());
        if inode.content.len() < end {
            inode.content.resize(end, 0);
        }
        inode.content[start..end].copy_from_slice(bytes);
        inode.unsynced.push((start, bytes.to_vec()));
        disk.check()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut disk = self.disk.lock();
        disk.check()?;
        let content = &disk.inodes[self.inode].content;
        let from = (offset as usize).min(content.len());
        let length = buffer.len().min(content.len() - from);
        buffer[..length].copy_from_slice(&content[from..from + length]);
        disk.bytes_read += length as u64;
        Ok(length)
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut disk = self.disk.lock();
        if disk.fault == Some(Fault::SyncFails) {
            return Err(io::Error::other("sync failed"));
        }
        disk.change()?;
        disk.check()?;
        if !disk.ignore_sync {
            let inode = &mut disk.inodes[self.inode];
            inode.unsynced.clear();
            inode.durable = inode.content.clone();
        }
        Ok(())
    }
}
