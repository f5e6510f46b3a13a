//! Letters that are too large for the log: a file each, in a folder beside it.

use std::{
    collections::HashSet,
    fs, io,
    io::Write,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use headgate_sdk::Str;

/// The folder of those files. Invariant: a file is durable before the record that names it.
#[derive(Debug, Clone)]
pub(super) struct Folder(PathBuf);

impl Folder {
    /// Makes the folder, and removes from it what no letter names.
    pub(super) fn open(folder: PathBuf, named: &HashSet<Str>) -> io::Result<Self> {
        fs::create_dir_all(&folder)?;
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            if !entry
                .file_name()
                .to_str()
                .is_some_and(|name| named.contains(name))
            {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(Self(folder))
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes `content` durably; returns the file's name: 32 hexadecimal digits, never the same twice.
    pub(super) fn write(&self, content: &[u8]) -> io::Result<Str> {
        let name = format!("{:032x}", fastrand::u128(..));
        let mut file = fs::File::create_new(self.path(&name))?;
        let written = file.write_all(content).and_then(|()| file.sync_all());
        if let Err(error) = written {
            // What is left of it goes at the next start at the latest.
            let _gone = fs::remove_file(self.path(&name));
            return Err(error);
        }
        fs::File::open(&self.0)?.sync_all()?;
        Ok(name.into())
    }

    pub(super) fn read(&self, name: &str) -> io::Result<Bytes> {
        fs::read(self.path(name)).map(Bytes::from)
    }

    pub(super) fn remove(&self, name: &str) {
        if let Err(error) = fs::remove_file(self.path(name)) {
            tracing::warn!(path = %self.path(name).display(), %error, "a dead letter's data was not removed; the next start does it");
        }
    }
}

/// Appends lines to a file, durably.
pub(super) fn append(path: &Path, lines: &str) -> io::Result<()> {
    let mut file = fs::File::options().create(true).append(true).open(path)?;
    file.write_all(lines.as_bytes())?;
    file.sync_data()
}
