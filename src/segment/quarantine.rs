//! Bytes that should have been frames: copied aside before they are skipped.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::Sequence;
use super::files::{FileLayer, LogFile};

const DIRECTORY: &str = "quarantine";
const COPY_BYTES: u64 = 1 << 20;

/// A damaged stretch of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Corruption {
    /// The segment.
    pub segment: PathBuf,
    /// Where the damage begins.
    pub offset: u64,
    /// How far it goes.
    pub bytes: u64,
    /// The sequences that could not be read, as far as the neighbours tell.
    pub missing: Range<Sequence>,
    /// Where the damaged bytes were copied to, if that worked.
    pub kept_at: Option<PathBuf>,
}

/// Copies a stretch of a segment into the quarantine folder. Does nothing if it is there already.
pub(super) fn copy_aside(
    files: &dyn FileLayer,
    segment: &Path,
    file: &dyn LogFile,
    stretch: Range<u64>,
) -> io::Result<PathBuf> {
    let parent = segment.parent().unwrap_or(Path::new("."));
    let folder = parent.join(DIRECTORY);
    let stem = segment
        .file_stem()
        .and_then(|stem| stem.to_str())
        .unwrap_or("segment");
    let target = folder.join(format!("{stem}-{}.bad", stretch.start));
    files.create_dir(&folder)?;
    let copy = match files.create(&target) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(target),
        created => created?,
    };
    let mut buffer = vec![0; COPY_BYTES.min(stretch.end - stretch.start) as usize];
    let mut at = stretch.start;
    while at < stretch.end {
        let wanted = buffer.len().min((stretch.end - at) as usize);
        let read = file.read_at(&mut buffer[..wanted], at)?;
        if read == 0 {
            break;
        }
        copy.write_all_at(&buffer[..read], at - stretch.start)?;
        at += read as u64;
    }
    copy.sync_data()?;
    files.sync_dir(&folder)?;
    Ok(target)
}
