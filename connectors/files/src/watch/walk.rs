//! Reading a folder tree: the truth that events only hint at.
//!
//! Memory is bounded by the depth of the tree: one open directory a level, nothing kept of what was passed.

use std::{
    fs::{self, DirEntry, ReadDir},
    io,
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use crate::stamp::Stamp;

/// Directories deeper than this are reported as trouble, not entered: each level holds a directory open.
pub const MAX_DEPTH: usize = 128;

/// What a walk meets, with paths relative to the root.
#[derive(Debug)]
pub enum Met {
    /// A regular file, or a symbolic link to one inside the root.
    File(PathBuf, Stamp),
    /// Something that could not be looked at; what lies below it was not seen.
    Trouble(PathBuf, io::Error),
}

/// Walks `root` from the relative folder `start` and calls `visit` for everything it meets, until that breaks off.
///
/// `enter` says whether to go into a relative folder. Symbolic links to folders are not followed; those to files only if they
/// resolve to a place inside `root`. What vanishes on the way is passed over.
///
/// # Errors
/// If `start` itself cannot be read: then nothing was visited.
pub fn walk(
    root: &Path,
    start: &Path,
    enter: &dyn Fn(&Path) -> bool,
    visit: &mut dyn FnMut(Met) -> ControlFlow<()>,
) -> io::Result<()> {
    let real_root = fs::canonicalize(root)?;
    let mut levels: Vec<(PathBuf, ReadDir)> =
        vec![(start.to_owned(), fs::read_dir(root.join(start))?)];
    while let Some((folder, entries)) = levels.last_mut() {
        let Some(entry) = entries.next() else {
            levels.pop();
            continue;
        };
        let met = match entry {
            Ok(entry) => {
                let path = folder.join(entry.file_name());
                look_at(&real_root, &entry, path)
            }
            Err(error) => {
                let folder = folder.clone();
                levels.pop();
                Looked::Met(Met::Trouble(folder, error))
            }
        };
        let met = match met {
            Looked::Nothing => continue,
            Looked::Met(met) => met,
            Looked::Folder(path) if !enter(&path) => continue,
            Looked::Folder(path) if levels.len() >= MAX_DEPTH => Met::Trouble(
                path,
                io::Error::other("nested too deep: 128 folders are the limit"),
            ),
            Looked::Folder(path) => match fs::read_dir(root.join(&path)) {
                Ok(entries) => {
                    levels.push((path, entries));
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => Met::Trouble(path, error),
            },
        };
        if visit(met).is_break() {
            break;
        }
    }
    Ok(())
}

enum Looked {
    Nothing,
    Folder(PathBuf),
    Met(Met),
}

enum Found {
    Nothing,
    Folder,
    File(Stamp),
}

fn look_at(real_root: &Path, entry: &DirEntry, path: PathBuf) -> Looked {
    let found = entry.file_type().and_then(|kind| {
        if kind.is_dir() {
            return Ok(Found::Folder);
        }
        let metadata = if kind.is_symlink() {
            let Ok(target) = fs::canonicalize(entry.path()) else {
                return Ok(Found::Nothing);
            };
            if !target.starts_with(real_root) {
                return Ok(Found::Nothing);
            }
            fs::metadata(target)?
        } else {
            entry.metadata()?
        };
        Ok(if metadata.is_file() {
            Found::File(Stamp::of(&metadata))
        } else {
            Found::Nothing
        })
    });
    match found {
        Ok(Found::Nothing) => Looked::Nothing,
        Ok(Found::Folder) => Looked::Folder(path),
        Ok(Found::File(stamp)) => Looked::Met(Met::File(path, stamp)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Looked::Nothing,
        Err(error) => Looked::Met(Met::Trouble(path, error)),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn files(root: &Path, enter: &dyn Fn(&Path) -> bool) -> Vec<String> {
        let mut found = Vec::new();
        walk(root, Path::new(""), enter, &mut |met| {
            match met {
                Met::File(path, _) => found.push(path.display().to_string()),
                Met::Trouble(path, error) => panic!("{}: {error}", path.display()),
            }
            ControlFlow::Continue(())
        })
        .unwrap();
        found.sort();
        found
    }

    #[test]
    fn finds_files_at_any_depth_and_enters_only_what_it_may() {
        let root = tempfile::tempdir().unwrap();
        for path in ["a", "x/b", "x/y/z/c", "processed/d"] {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, b"").unwrap();
        }
        fs::create_dir(root.path().join("named-like.pdf")).unwrap();
        assert_eq!(
            files(root.path(), &|folder| folder != Path::new("processed")),
            ["a", "x/b", "x/y/z/c"]
        );
    }

    #[test]
    fn links_are_not_followed_out_of_the_folder() {
        let root = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("secret"), b"x").unwrap();
        fs::write(root.path().join("real"), b"x").unwrap();
        symlink(outside.path().join("secret"), root.path().join("out")).unwrap();
        symlink(outside.path(), root.path().join("out-folder")).unwrap();
        symlink("real", root.path().join("inside")).unwrap();
        symlink("nowhere", root.path().join("dangling")).unwrap();
        symlink(".", root.path().join("loop")).unwrap();
        assert_eq!(files(root.path(), &|_| true), ["inside", "real"]);
    }

    #[test]
    fn a_missing_root_is_an_error() {
        let root = tempfile::tempdir().unwrap();
        let gone = root.path().join("gone");
        assert!(
            walk(&gone, Path::new(""), &|_| true, &mut |_| {
                ControlFlow::Continue(())
            })
            .is_err()
        );
    }
}
