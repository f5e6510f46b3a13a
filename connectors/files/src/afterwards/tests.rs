//! Moving and deleting on real file systems: `/dev/shm` is the other device.

use std::{fs, os::unix::fs::MetadataExt as _};

use super::*;

struct Inbox(tempfile::TempDir);

impl Inbox {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, content: &str) -> (PathBuf, Stamp) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        let stamp = Stamp::of(&fs::metadata(&path).unwrap());
        (path, stamp)
    }

    fn shelve(&self, name: &str, content: &str, folder: &Path) -> Shelved {
        let (path, stamp) = self.write(name, content);
        shelve(published(&path, stamp, content), folder, Path::new(name)).unwrap()
    }
}

fn published<'a>(path: &'a Path, stamp: Stamp, content: &str) -> Published<'a> {
    Published {
        path,
        stamp,
        hash: blake3::hash(content.as_bytes()),
    }
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn names_that_are_taken_get_a_number() {
    let inbox = Inbox::new();
    let processed = inbox.path("processed");
    for (n, expected) in ["x/a.tar.gz", "x/a.tar~1.gz", "x/a.tar~2.gz"]
        .iter()
        .enumerate()
    {
        let content = n.to_string();
        let moved = inbox.shelve("x/a.tar.gz", &content, &processed);
        assert_eq!(moved, Shelved::Moved(processed.join(expected)));
        assert_eq!(
            fs::read_to_string(processed.join(expected)).unwrap(),
            content
        );
    }
}

#[test]
fn a_name_of_255_bytes_can_be_numbered() {
    let inbox = Inbox::new();
    let processed = inbox.path("processed");
    let long = format!("{}.pdf", "n".repeat(251));
    for content in ["1", "2"] {
        let Shelved::Moved(path) = inbox.shelve(&long, content, &processed) else {
            panic!("not moved");
        };
        assert_eq!(fs::read_to_string(&path).unwrap(), content);
        assert!(path.extension().is_some_and(|e| e == "pdf"));
    }
    assert_eq!(names(&processed).len(), 2);
}

#[test]
fn another_version_is_left_alone() {
    let inbox = Inbox::new();
    let (path, stamp) = inbox.write("a", "one");
    fs::remove_file(&path).unwrap();
    inbox.write("a", "three");
    let old = published(&path, stamp, "one");
    assert_eq!(
        shelve(old, &inbox.path("p"), Path::new("a")).unwrap(),
        Shelved::Replaced
    );
    assert_eq!(delete(old).unwrap(), Shelved::Replaced);
    assert_eq!(fs::read_to_string(&path).unwrap(), "three");
    fs::remove_file(&path).unwrap();
    assert_eq!(delete(old).unwrap(), Shelved::Gone);
    assert_eq!(
        shelve(old, &inbox.path("p"), Path::new("a")).unwrap(),
        Shelved::Gone
    );
}

#[test]
fn deleting_leaves_nothing() {
    let inbox = Inbox::new();
    let (path, stamp) = inbox.write("a", "one");
    assert_eq!(
        delete(published(&path, stamp, "one")).unwrap(),
        Shelved::Deleted
    );
    assert_eq!(names(inbox.0.path()), [""; 0]);
}

#[test]
fn what_a_crash_left_while_deleting_comes_back_under_its_name() {
    let inbox = Inbox::new();
    let (long, _) = inbox.write(&format!("{}.pdf", "n".repeat(251)), "x");
    for name in [Path::new("a.pdf"), Path::new("-"), &long] {
        let path = inbox.0.path().join(name);
        let own = deleting_name(&path);
        let other = own
            .to_str()
            .unwrap()
            .replace(RUN.as_str(), "0123456789abcdef");
        fs::write(&own, "now").unwrap();
        fs::write(&other, "earlier").unwrap();
        assert_eq!(
            restore(&own).unwrap(),
            None,
            "still being deleted by this run"
        );
        let restored = restore(Path::new(&other)).unwrap().unwrap();
        assert_eq!(restored.extension(), path.extension());
        if name != long {
            assert_eq!(restored, path);
            fs::write(&other, "later").unwrap();
            let beside = restore(Path::new(&other)).unwrap().unwrap();
            assert_eq!(fs::read_to_string(beside).unwrap(), "later");
        }
        assert_eq!(fs::read_to_string(restored).unwrap(), "earlier");
    }
    assert_eq!(restore(&long).unwrap(), None);
}

#[test]
fn a_failed_file_has_its_note_beside_it() {
    let inbox = Inbox::new();
    let failed = inbox.path("failed");
    for expected in ["a.csv", "a~1.csv"] {
        let (path, stamp) = inbox.write("a.csv", "x");
        let text = note(&path, "the archive is torn", Timestamp::UNIX_EPOCH);
        let moved = shelve_failed(
            published(&path, stamp, "x"),
            &failed,
            Path::new("a.csv"),
            &text,
        );
        assert_eq!(moved.unwrap(), Shelved::Moved(failed.join(expected)));
    }
    assert_eq!(
        names(&failed),
        ["a.csv", "a.csv.error.txt", "a~1.csv", "a~1.csv.error.txt"]
    );
    let text = fs::read_to_string(failed.join("a.csv.error.txt")).unwrap();
    let text = text.replace(inbox.0.path().to_str().unwrap(), "/srv/in");
    insta::assert_snapshot!(text, @r#"
    The file "a.csv" could not be taken over.

    Why:  the archive is torn
    When: 1970-01-01 00:00:00 UTC

    What to do: mend the file, or ask whoever made it to send it again. Then put it back into
    /srv/in
    and delete this note. Nothing of it is lost: the file lies beside this note as it was dropped.
    "#);
}

#[test]
fn another_device_gets_a_synced_copy() {
    let inbox = Inbox::new();
    let other = tempfile::tempdir_in("/dev/shm").unwrap();
    let device = |path: &Path| fs::metadata(path).unwrap().dev();
    assert_ne!(
        device(other.path()),
        device(inbox.0.path()),
        "/dev/shm is no other device here"
    );
    assert_eq!(
        inbox.shelve("a", "one", other.path()),
        Shelved::Moved(other.path().join("a"))
    );
    assert_eq!(
        inbox.shelve("a", "two", other.path()),
        Shelved::Moved(other.path().join("a~1"))
    );
    assert_eq!(names(inbox.0.path()), [""; 0]);
    // A crash between copy and unlink: the copy is there, the file too.
    let (path, stamp) = inbox.write("b", "three");
    fs::write(other.path().join("b"), "three").unwrap();
    let moved = shelve(
        published(&path, stamp, "three"),
        other.path(),
        Path::new("b"),
    );
    assert_eq!(moved.unwrap(), Shelved::Moved(other.path().join("b")));
    assert_eq!(names(inbox.0.path()), [""; 0]);
    assert_eq!(names(other.path()), ["a", "a~1", "b"]);
    // A crash in the middle of the copy.
    let target = other.path().join("c");
    fs::write(copy_name(&inbox.path("c"), &target), "half of somethi").unwrap();
    let moved = inbox.shelve("c", "four", other.path());
    assert_eq!(moved, Shelved::Moved(target));
    assert_eq!(names(other.path()), ["a", "a~1", "b", "c"]);
}

#[test]
fn a_full_disk_leaves_the_file_where_it_is() {
    // A quota that nobody can grant: a copy to `/dev/full` is not possible by name, so the limit is the size of a tmpfs.
    let inbox = Inbox::new();
    let small = inbox.path("small");
    fs::create_dir(&small).unwrap();
    let mounted = rustix::mount::mount(
        "tmpfs",
        &small,
        "tmpfs",
        rustix::mount::MountFlags::empty(),
        Some(c"size=64k"),
    );
    if let Err(error) = mounted {
        panic!("this test mounts a tmpfs: run it as root ({error})");
    }
    let content = "x".repeat(200_000);
    let (path, stamp) = inbox.write("a", &content);
    let error = shelve(published(&path, stamp, &content), &small, Path::new("a")).unwrap_err();
    let left = names(&small);
    rustix::mount::unmount(&small, rustix::mount::UnmountFlags::DETACH).unwrap();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    assert_eq!(left, [""; 0]);
    assert_eq!(fs::read_to_string(&path).unwrap(), content);
}
