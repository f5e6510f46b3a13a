//! Opening a file without being led astray, and asking whether somebody still writes to it.

use std::{
    cell::Cell,
    fs::File,
    io,
    os::fd::{AsRawFd as _, OwnedFd},
    path::Path,
};

use rustix::{
    fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2},
    io::Errno,
};

/// A folder below which files are opened.
#[derive(Debug)]
pub struct Root {
    folder: OwnedFd,
    /// Whether files may be read without a new access time, which the kernel allows for one's own files only. Otherwise the first
    /// reading of each file writes its inode.
    quiet: Cell<bool>,
}

impl Root {
    /// Opens the folder.
    ///
    /// # Errors
    /// The kernel's.
    pub fn open(root: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self {
            folder: openat(CWD, root, flags, Mode::empty())?,
            quiet: Cell::new(true),
        })
    }

    /// Opens `path` below it for reading. The kernel sees to it that no symbolic link leads out of the folder, and opening a pipe
    /// does not wait for its writer.
    ///
    /// # Errors
    /// The kernel's; `EXDEV` for a path that leads out.
    pub fn open_file(&self, path: &Path) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        if self.quiet.get() {
            match self.open_with(path, flags | OFlags::NOATIME) {
                Err(Errno::PERM) => self.quiet.set(false),
                opened => return Ok(opened?),
            }
        }
        Ok(self.open_with(path, flags)?)
    }

    fn open_with(&self, path: &Path, flags: OFlags) -> Result<File, Errno> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let folder = &self.folder;
        match openat2(folder, path, flags, Mode::empty(), resolve) {
            // Kernels before 5.6: no link at all then.
            Err(Errno::NOSYS) => openat(folder, path, flags | OFlags::NOFOLLOW, Mode::empty()),
            opened => opened,
        }
        .map(File::from)
    }
}

/// Opens one file at `path` below `root`, as [`Root::open_file`] does.
///
/// # Errors
/// The kernel's; `EXDEV` for a path that leads out.
pub fn open_beneath(root: &Path, path: &Path) -> io::Result<File> {
    Root::open(root)?.open_file(path)
}

/// Whether a file is open for writing anywhere on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writers {
    /// Nobody has it open for writing.
    None,
    /// Somebody has.
    Some,
    /// The kernel does not say: not our file, or a file system without leases.
    Unknown,
}

/// Asks for a read lease (fcntl(2), `F_SETLEASE`), which the kernel grants only while nobody has the file open for writing, and
/// gives it back at once.
#[must_use]
pub fn writers(file: &File) -> Writers {
    let writers = lease(file);
    if writers == Writers::None {
        let _closing_the_file_gives_it_back_too = fcntl(file, libc::F_SETLEASE, libc::F_UNLCK);
    }
    writers
}

/// As [`writers`], but a lease that is granted is held until the file is closed. Until then its bytes stand still: whoever opens it
/// for writing, or truncates it, waits. So it is for files that are read in no time.
#[must_use]
pub fn lease(file: &File) -> Writers {
    // Somebody who opens the file meanwhile makes the kernel send a signal. The default one, SIGIO, would end the process; SIGURG is
    // ignored unless handled.
    const F_SETSIG: libc::c_int = 10;
    if fcntl(file, F_SETSIG, libc::SIGURG).is_err() {
        return Writers::Unknown;
    }
    match fcntl(file, libc::F_SETLEASE, libc::F_RDLCK) {
        Ok(()) => Writers::None,
        Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => Writers::Some,
        Err(_) => Writers::Unknown,
    }
}

#[expect(unsafe_code, reason = "no safe wrapper of F_SETLEASE exists")]
fn fcntl(file: &File, command: libc::c_int, argument: libc::c_int) -> io::Result<()> {
    // SAFETY: the descriptor is open for the call's duration, and these commands take an int and touch no memory of ours.
    if unsafe { libc::fcntl(file.as_raw_fd(), command, argument) } == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{fs, fs::OpenOptions, os::unix::fs::symlink};

    use super::*;

    #[test]
    fn a_writer_is_noticed_and_gone_again() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a");
        fs::write(&path, b"x").unwrap();
        let file = open_beneath(root.path(), Path::new("a")).unwrap();
        assert_eq!(writers(&file), Writers::None);
        let writer = OpenOptions::new().append(true).open(&path).unwrap();
        assert_eq!(writers(&file), Writers::Some);
        drop(writer);
        assert_eq!(writers(&file), Writers::None);
    }

    #[test]
    fn a_lease_that_is_broken_does_not_end_the_process() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a");
        fs::write(&path, b"x").unwrap();
        let open = {
            let path = path.clone();
            std::thread::spawn(move || {
                for _ in 0..2000 {
                    OpenOptions::new().append(true).open(&path).unwrap();
                }
            })
        };
        let file = open_beneath(root.path(), Path::new("a")).unwrap();
        while !open.is_finished() {
            assert_ne!(writers(&file), Writers::Unknown);
        }
        open.join().unwrap();
    }

    #[test]
    fn as_long_as_a_lease_is_held_nobody_opens_the_file_for_writing() {
        use std::os::unix::fs::OpenOptionsExt as _;
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a");
        fs::write(&path, b"x").unwrap();
        let file = open_beneath(root.path(), Path::new("a")).unwrap();
        assert_eq!(lease(&file), Writers::None);
        let mut write = OpenOptions::new();
        write.append(true).custom_flags(libc::O_NONBLOCK);
        let error = write.open(&path).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        drop(file);
        write.open(&path).unwrap();
    }

    #[test]
    fn reading_a_file_leaves_its_access_time() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a");
        fs::write(&path, b"x").unwrap();
        let before = fs::metadata(&path).unwrap();
        let long_ago = fs::FileTimes::new().set_accessed(std::time::UNIX_EPOCH);
        File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_times(long_ago)
            .unwrap();
        let mut file = open_beneath(root.path(), Path::new("a")).unwrap();
        io::copy(&mut file, &mut io::sink()).unwrap();
        let after = fs::metadata(&path).unwrap();
        assert_eq!(after.accessed().unwrap(), std::time::UNIX_EPOCH);
        assert_eq!(after.modified().unwrap(), before.modified().unwrap());
    }

    #[test]
    fn links_lead_nowhere_outside() {
        let root = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("secret"), b"x").unwrap();
        symlink(outside.path(), root.path().join("out")).unwrap();
        fs::write(root.path().join("real"), b"x").unwrap();
        symlink("real", root.path().join("in")).unwrap();
        assert!(open_beneath(root.path(), Path::new("out/secret")).is_err());
        assert!(open_beneath(root.path(), Path::new("in")).is_ok());
    }
}
