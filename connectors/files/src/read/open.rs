//! Opening a file without being led astray, and asking whether somebody still writes to it.

use std::{
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
pub struct Root(OwnedFd);

impl Root {
    /// Opens the folder.
    ///
    /// # Errors
    /// The kernel's.
    pub fn open(root: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self(openat(CWD, root, flags, Mode::empty())?))
    }

    /// Opens `path` below it for reading. The kernel sees to it that no symbolic link leads out of the folder, and opening a pipe
    /// does not wait for its writer.
    ///
    /// # Errors
    /// The kernel's; `EXDEV` for a path that leads out.
    pub fn open_file(&self, path: &Path) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let fd = match openat2(&self.0, path, flags, Mode::empty(), resolve) {
            // Kernels before 5.6: no link at all then.
            Err(Errno::NOSYS) => openat(&self.0, path, flags | OFlags::NOFOLLOW, Mode::empty())?,
            opened => opened?,
        };
        Ok(File::from(fd))
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
    // Somebody who opens the file within these microseconds makes the kernel send a signal. The default one, SIGIO, would
    // end the process; SIGURG is ignored unless handled.
    const F_SETSIG: libc::c_int = 10;
    let lease = |command, argument: libc::c_int| fcntl(file, command, argument);
    if lease(F_SETSIG, libc::SIGURG).is_err() {
        return Writers::Unknown;
    }
    match lease(libc::F_SETLEASE, libc::F_RDLCK) {
        Ok(()) => {
            let _closing_the_file_gives_it_back_too = lease(libc::F_SETLEASE, libc::F_UNLCK);
            Writers::None
        }
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
