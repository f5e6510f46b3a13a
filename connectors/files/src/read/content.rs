//! Reading one complete file: hash, media type, and the content itself where it is small and wanted.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    os::unix::fs::MetadataExt as _,
    path::Path,
};

use bytes::Bytes;

use super::open::{Root, Writers, lease, writers};
use crate::{media, stamp::Stamp};

const CHUNK_BYTES: usize = 128 * 1024;

/// What reading a file came to.
#[derive(Debug)]
pub enum Reading {
    /// Its bytes stood still.
    Read(Content),
    /// It is not what it was when it was found due, or changed while it was read; the stamp is the newest.
    Changed(Stamp),
    /// Somebody has it open for writing.
    Busy,
    /// It is not there any more, or is no file.
    Vanished,
    /// It cannot be read.
    Failed(io::Error),
}

/// A file's bytes in short.
#[derive(Debug, Clone)]
pub struct Content {
    /// The stamp under which they were read, before and after.
    pub stamp: Stamp,
    /// BLAKE3 of all bytes.
    pub hash: blake3::Hash,
    /// By content.
    pub media_type: &'static str,
    /// User id of the owner.
    pub owner: u32,
    /// Group id of the owner.
    pub group: u32,
    /// All bytes, if there are at most as many as were asked for.
    pub inline: Option<Bytes>,
}

/// Reads the file at `path` below `root`, which was found with the stamp `expected`. Blocking; memory is bounded by
/// `inline_bytes` and one chunk.
#[must_use]
pub fn read(root: &Path, path: &Path, expected: Stamp, inline_bytes: u64) -> Reading {
    let read = Root::open(root)
        .and_then(|open| read_in(&open, root, path, expected, inline_bytes, &mut Vec::new()));
    read.unwrap_or_else(failed)
}

/// Sorts an error of opening or reading into what to do about it.
#[must_use]
pub fn failed(error: io::Error) -> Reading {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Reading::Vanished,
        // A link that leads out of the folder, or a socket.
        _ => match error.raw_os_error() {
            Some(libc::EXDEV | libc::ELOOP | libc::ENXIO) => Reading::Vanished,
            _ => Reading::Failed(error),
        },
    }
}

/// As [`read`], with the folder already open. `scratch` is room for small files, to be passed on from one to the next.
///
/// A small file costs six calls of the kernel: it is opened, leased, looked at, read and closed. Under the lease nobody can write to
/// it, so that the one look tells for all that is read. Without one (it is somebody else's file, or the file system has none) and
/// for large files, whose writers must not wait so long, it is looked at again afterwards, by its path.
///
/// # Errors
/// Those of opening and reading, for [`failed`] to sort.
pub fn read_in(
    open: &Root,
    root: &Path,
    path: &Path,
    expected: Stamp,
    inline_bytes: u64,
    scratch: &mut Vec<u8>,
) -> io::Result<Reading> {
    let mut file = open.open_file(path)?;
    let is_small = expected.size <= CHUNK_BYTES as u64;
    // Before the look: what it says must hold for what is read.
    let writers = if is_small {
        lease(&file)
    } else {
        writers(&file)
    };
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Ok(Reading::Vanished);
    }
    let stamp = Stamp::of(&metadata);
    if stamp != expected {
        return Ok(Reading::Changed(stamp));
    }
    if writers == Writers::Some {
        return Ok(Reading::Busy);
    }
    let (hash, media_type, inline) = if is_small {
        read_small(&mut file, stamp.size, path, inline_bytes, scratch)?
    } else {
        read_large(&mut file, stamp.size, path, inline_bytes)?
    };
    if !(is_small && writers == Writers::None) {
        // By path, not by descriptor: a file that was replaced meanwhile is another file.
        let after = Stamp::of(&fs::metadata(root.join(path))?);
        if after != expected {
            return Ok(Reading::Changed(after));
        }
    }
    Ok(Reading::Read(Content {
        stamp,
        hash,
        media_type,
        owner: metadata.uid(),
        group: metadata.gid(),
        inline,
    }))
}

type Parts = (blake3::Hash, &'static str, Option<Bytes>);

/// Mostly one read, into room that was there before.
fn read_small(
    file: &mut File,
    size: u64,
    path: &Path,
    inline_bytes: u64,
    scratch: &mut Vec<u8>,
) -> io::Result<Parts> {
    let room = usize::try_from(size).unwrap_or(0) + 1;
    if scratch.len() < room {
        scratch.resize(room, 0);
    }
    let bytes = &mut scratch[..room];
    let mut filled = 0;
    // A regular file gives less than it was asked for only at its end. If it has more by now, the stamp will tell.
    while filled < bytes.len() {
        let asked = bytes.len() - filled;
        match file.read(&mut bytes[filled..]) {
            Ok(read) => {
                filled += read;
                if read < asked {
                    break;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let bytes = &bytes[..filled];
    let head = &bytes[..bytes.len().min(media::HEAD_BYTES)];
    let media_type = media::detect(head, path);
    let inline = (size <= inline_bytes).then(|| Bytes::copy_from_slice(bytes));
    Ok((blake3::hash(bytes), media_type, inline))
}

fn read_large(file: &mut File, size: u64, path: &Path, inline_bytes: u64) -> io::Result<Parts> {
    let mut inline = (size <= inline_bytes).then(Vec::new);
    let mut hasher = blake3::Hasher::new();
    let mut chunk = vec![0; CHUNK_BYTES.min(usize::try_from(size).unwrap_or(CHUNK_BYTES) + 1)];
    let mut media_type = None;
    loop {
        let read = file.read(&mut chunk)?;
        if read == 0 {
            break;
        }
        let bytes = &chunk[..read];
        media_type
            .get_or_insert_with(|| media::detect(&bytes[..read.min(media::HEAD_BYTES)], path));
        hasher.update(bytes);
        if let Some(all) = &mut inline {
            all.extend_from_slice(bytes);
            // It grew past what it was: the stamp will tell, the memory must not.
            if all.len() as u64 > inline_bytes {
                inline = None;
            }
        }
    }
    Ok((
        hasher.finalize(),
        media_type.unwrap_or_else(|| media::detect(b"", path)),
        inline.map(Bytes::from),
    ))
}

#[cfg(test)]
mod tests {
    use std::{fs::OpenOptions, os::unix::net::UnixListener};

    use super::*;

    fn stamp(path: &Path) -> Stamp {
        Stamp::of(&fs::metadata(path).unwrap())
    }

    #[test]
    fn small_and_large_files_read_alike() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a");
        for size in [0, 1, 5000, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES] {
            let bytes: Vec<u8> = (0..size).map(|n| b'a' + (n % 23) as u8).collect();
            fs::write(&path, &bytes).unwrap();
            for inline in [0, 5000, u64::MAX] {
                let Reading::Read(content) =
                    read(root.path(), Path::new("a"), stamp(&path), inline)
                else {
                    panic!("{size}");
                };
                assert_eq!(content.hash, blake3::hash(&bytes));
                assert_eq!(content.media_type, "text/plain");
                let expected = (size as u64 <= inline).then(|| Bytes::from(bytes.clone()));
                assert_eq!(content.inline, expected);
            }
        }
    }

    #[test]
    fn a_file_that_changed_is_not_read() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a");
        fs::write(&path, b"one").unwrap();
        let old = stamp(&path);
        fs::write(&path, b"three").unwrap();
        let reading = read(root.path(), Path::new("a"), old, 9);
        assert!(matches!(reading, Reading::Changed(new) if new == stamp(&path)));
    }

    #[test]
    fn a_file_that_somebody_writes_is_busy() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a");
        fs::write(&path, b"one").unwrap();
        let _writer = OpenOptions::new().append(true).open(&path).unwrap();
        let reading = read(root.path(), Path::new("a"), stamp(&path), 9);
        assert!(matches!(reading, Reading::Busy));
    }

    #[test]
    fn what_is_no_file_has_vanished() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a");
        fs::write(&path, b"one").unwrap();
        let old = stamp(&path);
        fs::remove_file(&path).unwrap();
        let again = || read(root.path(), Path::new("a"), old, 9);
        assert!(matches!(again(), Reading::Vanished));
        fs::create_dir(&path).unwrap();
        assert!(matches!(again(), Reading::Vanished));
        fs::remove_dir(&path).unwrap();
        let _socket = UnixListener::bind(&path).unwrap();
        assert!(matches!(again(), Reading::Vanished));
    }
}
