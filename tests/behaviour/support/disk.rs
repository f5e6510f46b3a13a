//! A disk of a test's own that is small enough to be filled.

use std::{
    fs::File,
    io::{ErrorKind, Write as _},
    path::{Path, PathBuf},
    process::Command,
};

/// A file system in memory, mounted on a folder. It is gone when dropped.
pub(crate) struct SmallDisk {
    folder: PathBuf,
    /// What has to stand before the commands: nothing, or what makes them root's.
    before: &'static [&'static str],
}

impl SmallDisk {
    /// Mounts one of so many megabytes on `folder`; `None` where this is not permitted.
    pub(crate) fn mount(folder: &Path, megabytes: u32) -> Option<Self> {
        std::fs::create_dir_all(folder).unwrap();
        let size = format!("size={megabytes}m");
        let ways: [&[&str]; 2] = [&[], &["sudo", "-n"]];
        let before = ways.into_iter().find(|before| {
            let mount = ["mount", "-t", "tmpfs", "-o", &size, "headgate-test"];
            run(before, &mount, folder)
        })?;
        let disk = Self {
            folder: folder.to_owned(),
            before,
        };
        let open = run(before, &["chmod", "777"], folder);
        assert!(open, "the disk cannot be written to");
        Some(disk)
    }

    /// Takes all the room that is left.
    pub(crate) fn fill(&self) {
        let mut file = File::create(self.filler()).unwrap();
        for size in [1 << 20, 1 << 10, 1] {
            let bytes = vec![0; size];
            loop {
                match file.write_all(&bytes) {
                    Ok(()) => {}
                    Err(error) if error.kind() == ErrorKind::StorageFull => break,
                    Err(error) => panic!("filling the disk: {error}"),
                }
            }
        }
    }

    /// Gives it back.
    pub(crate) fn make_room(&self) {
        std::fs::remove_file(self.filler()).unwrap();
    }

    fn filler(&self) -> PathBuf {
        self.folder.join("of-somebody-else")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Also while somebody still holds a file there.
        run(self.before, &["umount", "--lazy"], &self.folder);
    }
}

fn run(before: &[&str], command: &[&str], folder: &Path) -> bool {
    let mut words = before.iter().chain(command);
    let program = words.next().expect("a command");
    let output = Command::new(program).args(words).arg(folder).output();
    output.is_ok_and(|output| output.status.success())
}
