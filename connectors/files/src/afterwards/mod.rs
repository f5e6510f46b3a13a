//! What becomes of a file once its event is durable: it stays, moves, or is deleted.
//!
//! Nothing is ever overwritten, and only the version that was published is touched: a file that was replaced in the meantime stays
//! where it is. All functions block; all may be repeated after a crash.

use std::{
    ffi::OsStr,
    fs::{self, File, FileTimes, OpenOptions},
    hash::{BuildHasher as _, RandomState},
    io::{self, Write as _},
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    sync::LazyLock,
};

use jiff::Timestamp;
use rustix::{
    fs::{CWD, RenameFlags, renameat_with},
    io::Errno,
};

use crate::{name, stamp::Stamp};

/// Ends of the names of notes beside failed files.
pub const NOTE_SUFFIX: &str = ".error.txt";

/// Start of the names of copies that are not yet whole; dotfiles are never taken.
const COPY_PREFIX: &str = ".headgate-copy-";

/// Start of the names of files that are being deleted; the run of this process and their own name follow.
const DELETE_PREFIX: &str = ".headgate-delete-";

/// Tells the files that this process is deleting from those that a crash left behind.
static RUN: LazyLock<String> =
    LazyLock::new(|| format!("{:016x}", RandomState::new().hash_one(std::process::id())));

/// Longest name of a file, NAME_MAX of Linux.
const NAME_BYTES: usize = 255;

/// A file as it was published.
#[derive(Debug, Clone, Copy)]
pub struct Published<'a> {
    /// Absolute path.
    pub path: &'a Path,
    /// Stamp under which it was read.
    pub stamp: Stamp,
    /// BLAKE3 of its content.
    pub hash: blake3::Hash,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shelved {
    /// It lies there now.
    Moved(PathBuf),
    /// It is deleted.
    Deleted,
    /// It was gone already.
    Gone,
    /// Another version lies in its place, which is left alone.
    Replaced,
}

/// Moves a file into `folder`, under its path relative to the watched folder. A name that is taken gets a number before its
/// extension.
///
/// # Errors
/// The file system's; the file is still in its place then.
pub fn shelve(file: Published<'_>, folder: &Path, relative: &Path) -> io::Result<Shelved> {
    move_into(file, folder, relative, None)
}

/// Moves a file into `folder` with a note beside it that says why.
///
/// # Errors
/// The file system's; the file is still in its place then.
pub fn shelve_failed(
    file: Published<'_>,
    folder: &Path,
    relative: &Path,
    note: &str,
) -> io::Result<Shelved> {
    move_into(file, folder, relative, Some(note))
}

/// Deletes a file.
///
/// # Errors
/// The file system's; the file is still in its place then.
pub fn delete(file: Published<'_>) -> io::Result<Shelved> {
    if let Some(answer) = check(&file)? {
        return Ok(answer);
    }
    // Renamed first: a version that arrives at the last moment is found out and put back. So is what a crash leaves under this name.
    let staged = deleting_name(file.path);
    fs::rename(file.path, &staged)?;
    if !is_version(&fs::symlink_metadata(&staged)?, &file.stamp) {
        put_back(&staged, file.path)?;
        return Ok(Shelved::Replaced);
    }
    fs::remove_file(&staged)?;
    Ok(Shelved::Deleted)
}

/// Whether the name is one that only a file has which is being deleted, or was when a crash came.
#[must_use]
pub fn may_be_left_over(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().as_bytes();
    name.starts_with(DELETE_PREFIX.as_bytes())
}

/// Puts a file that a crash left behind while it was being deleted back under its name, where it is found like any other: if it is the
/// version that was published it is deleted then, and if not it is new. Answers where it lies, or nothing if `path` is no such file.
///
/// # Errors
/// The file system's.
pub fn restore(path: &Path) -> io::Result<Option<PathBuf>> {
    let name = path.file_name().unwrap_or_default().as_bytes();
    let Some(rest) = name.strip_prefix(DELETE_PREFIX.as_bytes()) else {
        return Ok(None);
    };
    match rest.split_at_checked(RUN.len()) {
        Some((run, [b'-', name @ ..])) if run != RUN.as_bytes() && !name.is_empty() => {
            put_back(path, &path.with_file_name(OsStr::from_bytes(name))).map(Some)
        }
        _ => Ok(None),
    }
}

/// The note beside a failed file, for whoever dropped it.
#[must_use]
pub fn note(path: &Path, reason: &str, at: Timestamp) -> String {
    let file_name = path.file_name().map_or(path, Path::new);
    format!(
        "The file \"{}\" could not be taken over.\n\n\
         Why:  {reason}\n\
         When: {}\n\n\
         What to do: mend the file, or ask whoever made it to send it again. Then put it back into\n\
         {}\n\
         and delete this note. Nothing of it is lost: the file lies beside this note as it was dropped.\n",
        name::encode(file_name),
        at.strftime("%Y-%m-%d %H:%M:%S UTC"),
        name::encode(path.parent().unwrap_or(path)),
    )
}

fn move_into(
    file: Published<'_>,
    folder: &Path,
    relative: &Path,
    note: Option<&str>,
) -> io::Result<Shelved> {
    if let Some(answer) = check(&file)? {
        return Ok(answer);
    }
    let target = folder.join(relative);
    let parent = target.parent().unwrap_or(folder);
    fs::create_dir_all(parent)?;
    match place(file.path, &target, note) {
        Ok(placed) if is_version(&fs::symlink_metadata(&placed)?, &file.stamp) => {
            Ok(Shelved::Moved(placed))
        }
        Ok(placed) => {
            if note.is_some() {
                fs::remove_file(with_suffix(&placed, NOTE_SUFFIX))?;
            }
            put_back(&placed, file.path)?;
            Ok(Shelved::Replaced)
        }
        Err(error) if error.raw_os_error() == Some(libc::EXDEV) => {
            move_across(file, &target, parent, note)
        }
        Err(error) => Err(error),
    }
}

/// To another device: copy, sync, rename into place, unlink. A crash in between leaves the file where it was and perhaps a copy: a
/// complete one is recognised by its content the next time, another is written over.
fn move_across(
    file: Published<'_>,
    target: &Path,
    parent: &Path,
    note: Option<&str>,
) -> io::Result<Shelved> {
    let placed = if has_content(target, &file)? {
        target.to_owned()
    } else {
        let staged = copy_name(file.path, target);
        let copied = copy(&file, &staged).and_then(|()| place(&staged, target, note));
        if copied.is_err() {
            let _not_even_created = fs::remove_file(&staged);
        }
        copied?
    };
    File::open(parent)?.sync_all()?;
    if let Some(answer) = check(&file)? {
        if answer == Shelved::Replaced {
            fs::remove_file(&placed)?;
        }
        return Ok(answer);
    }
    fs::remove_file(file.path)?;
    Ok(Shelved::Moved(placed))
}

/// Renames `from` to `target`, or to the first numbered name that is free, with its note beside it.
fn place(from: &Path, target: &Path, note: Option<&str>) -> io::Result<PathBuf> {
    let mut number = 0;
    loop {
        let target = numbered(target, number);
        number += 1;
        if fs::symlink_metadata(&target).is_ok() {
            continue;
        }
        // The note first: a failed file without one would puzzle whoever finds it.
        let note_path = with_suffix(&target, NOTE_SUFFIX);
        if let Some(note) = note {
            fs::write(&note_path, note)?;
        }
        let renamed = rename_without_replacing(from, &target);
        if renamed.is_err() && note.is_some() {
            fs::remove_file(&note_path)?;
        }
        match renamed {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            renamed => return renamed.map(|()| target),
        }
    }
}

/// Whether the file at its path is still the published version; if not, what to answer.
fn check(file: &Published<'_>) -> io::Result<Option<Shelved>> {
    match fs::symlink_metadata(file.path) {
        Ok(metadata) if is_version(&metadata, &file.stamp) => Ok(None),
        Ok(_) => Ok(Some(Shelved::Replaced)),
        Err(error) if gone(&error) => Ok(Some(Shelved::Gone)),
        Err(error) => Err(error),
    }
}

fn gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

/// The status change time may differ: renaming sets it.
fn is_version(metadata: &fs::Metadata, stamp: &Stamp) -> bool {
    let now = Stamp::of(metadata);
    (now.inode, now.size, now.modified) == (stamp.inode, stamp.size, stamp.modified)
}

/// Where it lies then: beside `to`, if a third version has taken that name.
fn put_back(from: &Path, to: &Path) -> io::Result<PathBuf> {
    match rename_without_replacing(from, to) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => place(from, to, None),
        renamed => renamed.map(|()| to.to_owned()),
    }
}

fn rename_without_replacing(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // File systems without the flag.
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
            match fs::hard_link(from, to) {
                Ok(()) => fs::remove_file(from),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(error),
                // And without hard links: take the name first, then rename over our own empty file.
                Err(_) => {
                    OpenOptions::new().write(true).create_new(true).open(to)?;
                    fs::rename(from, to)
                }
            }
        }
        renamed => Ok(renamed?),
    }
}

fn copy(file: &Published<'_>, staged: &Path) -> io::Result<()> {
    let mut source = File::open(file.path)?;
    let metadata = source.metadata()?;
    let mut copy = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .open(staged)?;
    io::copy(&mut source, &mut copy)?;
    copy.flush()?;
    copy.set_permissions(metadata.permissions())?;
    if let Ok(modified) = metadata.modified() {
        copy.set_times(FileTimes::new().set_modified(modified))?;
    }
    copy.sync_all()
}

fn has_content(path: &Path, file: &Published<'_>) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_file() && metadata.len() == file.stamp.size => {
            let mut hasher = blake3::Hasher::new();
            io::copy(&mut File::open(path)?, &mut hasher)?;
            Ok(hasher.finalize() == file.hash)
        }
        Ok(_) => Ok(false),
        Err(error) if gone(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

/// `report.pdf`, `report~1.pdf`, `report~2.pdf`, …, cut so that file systems take it, its note's suffix included.
fn numbered(target: &Path, number: u32) -> PathBuf {
    let Some(file_name) = target.file_name() else {
        return target.to_owned();
    };
    let number = match number {
        0 => String::new(),
        number => format!("~{number}"),
    };
    let extension = match target.extension() {
        Some(extension) if extension.len() < 32 => [b".", extension.as_bytes()].concat(),
        _ => Vec::new(),
    };
    let room = NAME_BYTES - if number.is_empty() { 0 } else { number.len() };
    let stem = &file_name.as_bytes()[..file_name.len() - extension.len()];
    let stem = &stem[..stem.len().min(room - extension.len())];
    target.with_file_name(OsStr::from_bytes(
        &[stem, number.as_bytes(), &extension].concat(),
    ))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let name = path.file_name().unwrap_or_default().as_bytes();
    let name = &name[..name.len().min(NAME_BYTES - suffix.len())];
    path.with_file_name(OsStr::from_bytes(&[name, suffix.as_bytes()].concat()))
}

/// The same for each attempt to copy the file, and another for each file.
fn copy_name(from: &Path, target: &Path) -> PathBuf {
    let hash = blake3::hash(from.as_os_str().as_bytes()).to_hex();
    target.with_file_name(format!("{COPY_PREFIX}{}", &hash[..16]))
}

/// Its own name at the end, of a long one the last part.
fn deleting_name(path: &Path) -> PathBuf {
    let prefix = format!("{DELETE_PREFIX}{}-", *RUN);
    let name = path.file_name().unwrap_or_default().as_bytes();
    let cut = name.len().saturating_sub(NAME_BYTES - prefix.len());
    path.with_file_name(OsStr::from_bytes(
        &[prefix.as_bytes(), &name[cut..]].concat(),
    ))
}

#[cfg(test)]
mod tests;
