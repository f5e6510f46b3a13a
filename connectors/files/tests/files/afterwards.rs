//! Crashes between durable and put away, and files that fail.

use std::fs;

use crate::support::{Bench, names};
use serde_json::json;

fn csv() -> serde_json::Value {
    json!({ "format": "csv", "max_inflated_size": "1MB" })
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_put_away_before_it_is_durable() {
    for afterwards in ["move", "delete"] {
        let bench = Bench::new(json!({ "afterwards": afterwards }));
        bench.world.lanes.hold();
        let mut bench = bench;
        bench.start();
        let path = bench.write("a", "1");
        bench
            .until("the event", |bench| {
                bench
                    .world
                    .lanes
                    .sent()
                    .values()
                    .any(|sent| !sent.pending.is_empty())
            })
            .await;
        bench.sent().await;
        assert_eq!(bench.status().await["states"]["published"]["count"], 1);
        assert!(path.exists());
        // Published, not durable: after a crash it is published again, under the same id.
        let id = bench.world.lanes.sent().values().next().unwrap().pending[0]
            .id
            .clone();
        bench.crash().await;
        assert!(path.exists());
        bench.world.lanes.release();
        bench.start();
        let events = bench.until_events(1).await;
        assert_eq!(events[0].id, id);
        bench.until_state(&path, "archived").await;
        assert!(!path.exists());
        assert_eq!(bench.path("processed/a").exists(), afterwards == "move");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_after_durable_puts_away_without_publishing_again() {
    // The first run leaves the file where it is, as a crash before the move would.
    let mut bench = Bench::started(json!({ "afterwards": "leave" }));
    let path = bench.write("a", "1");
    bench.until_events(1).await;
    bench.until_state(&path, "acknowledged").await;
    bench.crash().await;
    bench.set("afterwards", json!("move"));
    bench.start();
    bench.until_state(&path, "archived").await;
    assert!(bench.path("processed/a").exists());
    assert_eq!(bench.events().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_after_the_move_loses_and_repeats_nothing() {
    let mut bench = Bench::new(json!({ "afterwards": "move" }));
    bench.world.lanes.hold();
    bench.start();
    let path = bench.write("a", "1");
    // The event is durable, and the move done; that it is noted is held back, and forgotten by the crash.
    bench
        .until("the event", |bench| {
            let sent = bench.world.lanes.sent();
            sent.values().any(|sent| !sent.pending.is_empty())
        })
        .await;
    bench.world.lanes.release_up_to(1);
    bench.until_events(1).await;
    bench
        .until("the move", |bench| bench.path("processed/a").exists())
        .await;
    bench.crash().await;
    bench.world.lanes.release();
    bench.start();
    bench.write("b", "2");
    bench.until_events(2).await;
    bench.until_state(&bench.path("b"), "archived").await;
    assert!(!path.exists());
    assert_eq!(names(&bench.path("processed")), ["a", "b"]);
    // Nobody noted the first move; the file does not wait for another one.
    let states = bench.status().await["states"].clone();
    assert_eq!(states["gone"]["count"], 1, "{states}");
    assert_eq!(
        states["acknowledged"]["count"],
        serde_json::Value::Null,
        "{states}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_in_the_middle_of_deleting_loses_and_repeats_nothing() {
    let mut bench = Bench::started(json!({ "afterwards": "leave" }));
    let published = bench.write("a", "1");
    bench.until_state(&published, "acknowledged").await;
    bench.crash().await;
    // The process died between renaming and deleting; and what it renamed last was a version that nobody had read.
    let being_deleted =
        |name: &str| bench.path(&format!(".headgate-delete-0123456789abcdef-{name}"));
    fs::rename(&published, being_deleted("a")).unwrap();
    fs::write(being_deleted("b"), "2").unwrap();
    bench.set("afterwards", json!("delete"));
    bench.start();
    for name in ["a", "b"] {
        bench.until_state(&bench.path(name), "archived").await;
    }
    let subjects: Vec<_> = bench.events().iter().map(|e| e.subject.clone()).collect();
    assert_eq!(subjects, [Some("a".into()), Some("b".into())]);
    assert_eq!(names(&bench.path("")), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_that_a_power_cut_undid_is_done_again() {
    let mut bench = Bench::started(json!({ "afterwards": "move" }));
    let path = bench.write("a", "1");
    bench.until_state(&path, "archived").await;
    bench.stop().await;
    fs::rename(bench.path("processed/a"), &path).unwrap();
    bench.start();
    bench
        .until("the move", |bench| bench.path("processed/a").exists())
        .await;
    bench.until_state(&path, "archived").await;
    assert_eq!(bench.events().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn duplicates_are_put_away_too() {
    let bench = Bench::started(json!({ "afterwards": "move" }));
    let path = bench.write("a", "1");
    bench.until_state(&path, "archived").await;
    bench.write("a", "1");
    bench.write("b", "1");
    bench
        .until("the move", |bench| bench.path("processed/b").exists())
        .await;
    bench
        .until("the move", |bench| bench.path("processed/a~1").exists())
        .await;
    assert_eq!(bench.events().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_file_has_a_note_and_another_chance() {
    let bench = Bench::started(json!({ "afterwards": "move", "records": csv() }));
    let mut torn = zstd::encode_all(&b"id,name\n1,x\n"[..], 1).unwrap();
    torn.truncate(torn.len() - 4);
    let path = bench.write("in/a.csv.zst", &torn);
    let failed = bench.path("failed/in/a.csv.zst");
    let note = bench.path("failed/in/a.csv.zst.error.txt");
    bench
        .until("the move", |_| failed.exists() && !path.exists())
        .await;
    let letters = bench.rejected();
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].reason, "unreadable_file");
    assert_eq!(letters[0].place.as_deref(), Some("in/a.csv.zst"));
    let text = fs::read_to_string(&note).unwrap();
    assert!(
        text.contains("\"a.csv.zst\" could not be taken over"),
        "{text}"
    );
    let status = bench.status().await;
    assert_eq!(status["states"]["failed"]["count"], 1);
    assert_eq!(status["failed"][0]["path"], path.to_str().unwrap());
    // Moved back as it is, it fails again: it was not remembered as done.
    fs::rename(&failed, &path).unwrap();
    bench
        .until("the second failure", |bench| bench.rejected().len() == 2)
        .await;
    bench
        .until("the move", |_| failed.exists() && !path.exists())
        .await;
    // Mended, it is taken.
    fs::remove_file(&failed).unwrap();
    let whole = zstd::encode_all(&b"id,name\n1,x\n"[..], 1).unwrap();
    fs::write(&path, whole).unwrap();
    bench
        .until("the file's event", |bench| {
            bench
                .events()
                .iter()
                .any(|e| e.event_type == "file.uploaded.v1")
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bomb_fails_and_says_which_setting_caps_it() {
    let bench = Bench::started(json!({ "afterwards": "move", "records": csv() }));
    let bomb = zstd::encode_all(&vec![b'\n'; 2_000_000][..], 1).unwrap();
    let path = bench.write("bomb.csv.zst", &bomb);
    bench.until_state(&path, "failed").await;
    let reason = bench.stored(&path).unwrap()["why"].clone();
    assert!(
        reason.as_str().unwrap().contains("max_inflated_size"),
        "{reason}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_archive_is_told_and_made_up_for() {
    let bench = Bench::new(json!({ "afterwards": "move" }));
    let mut bench = bench;
    // A file where the folder should be: nothing can be moved there.
    let obstacle = bench.path("processed");
    fs::write(&obstacle, "in the way").unwrap();
    bench.set("exclude", json!(["processed"]));
    bench.start();
    let path = bench.write("a", "1");
    bench.until_events(1).await;
    bench
        .until("the warning", |bench| {
            bench.warnings().contains_key("put_away")
        })
        .await;
    assert!(path.exists());
    fs::remove_file(&obstacle).unwrap();
    bench.until_state(&path, "archived").await;
    assert!(bench.path("processed/a").exists());
    assert!(!bench.warnings().contains_key("put_away"));
}

/// Unmounts when dropped.
struct Mounted(std::path::PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        use rustix::mount::{UnmountFlags, unmount};
        let _gone_already = unmount(&self.0, UnmountFlags::DETACH);
    }
}

/// An archive on a device of its own, with room for 64 KB.
fn small_device(folder: &std::path::Path) -> Mounted {
    use rustix::mount::{MountFlags, mount};
    mount("tmpfs", folder, "tmpfs", MountFlags::empty(), c"size=64k")
        .unwrap_or_else(|error| panic!("this test mounts: run it as root ({error})"));
    Mounted(folder.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_on_another_device_that_is_full_waits_for_room() {
    let archive = tempfile::tempdir().unwrap();
    let _mounted = small_device(archive.path());
    let filler = archive.path().join("filler");
    fs::write(&filler, vec![0; 60 * 1024]).unwrap();
    let bench = Bench::started(json!({ "afterwards": "move", "processed": archive.path() }));
    let content = "invoice ".repeat(1000);
    let path = bench.write("in/a.txt", &content);
    bench.until_events(1).await;
    bench
        .until("the warning", |bench| {
            let warnings = bench.warnings();
            warnings
                .get("put_away")
                .is_some_and(|text| text.contains("in/a.txt: cannot be put away: No space left"))
        })
        .await;
    // It is still whole where it was, and no half of it is in the archive.
    assert_eq!(fs::read_to_string(&path).unwrap(), content);
    assert!(!archive.path().join("in/a.txt").exists());
    fs::remove_file(&filler).unwrap();
    bench.until_state(&path, "archived").await;
    let moved = fs::read_to_string(archive.path().join("in/a.txt")).unwrap();
    assert_eq!(moved, content);
    assert_eq!(names(&archive.path().join("in")), ["a.txt"]);
    assert!(!path.exists() && !bench.warnings().contains_key("put_away"));
    assert_eq!(bench.events().len(), 1);
}

/// In any script, in both normal forms, and in none at all.
#[tokio::test(flavor = "multi_thread")]
async fn names_are_kept_exactly_on_the_way_to_the_archive() {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _};
    let long = [b"n".repeat(251), b".txt".to_vec()].concat();
    let all: [&[u8]; 8] = [
        "nfc \u{e9}".as_bytes(),
        "nfd e\u{301}".as_bytes(),
        "\u{65e5}\u{672c}".as_bytes(),
        b"invalid \xFF\xFE utf-8",
        b"new\nline",
        b"-rf",
        b"100%25",
        &long,
    ];
    for (records, shelf) in [(false, "processed"), (true, "failed")] {
        let mut settings = json!({ "afterwards": "move" });
        if records {
            // None of these is an array: all fail, and each gets its note.
            settings["records"] = json!({ "format": "json_array" });
        }
        let bench = Bench::started(settings);
        for (n, name) in all.iter().enumerate() {
            let path = bench.inbox.path().join(OsStr::from_bytes(name));
            fs::write(path, n.to_string()).unwrap();
        }
        let shelf = bench.path(shelf);
        for (n, name) in all.iter().enumerate() {
            let path = shelf.join(OsStr::from_bytes(name));
            bench
                .until("the move", |_| {
                    fs::read_to_string(&path).is_ok_and(|text| text == n.to_string())
                })
                .await;
            let state = if records { "failed" } else { "archived" };
            let dropped = bench.inbox.path().join(OsStr::from_bytes(name));
            bench.until_state(&dropped, state).await;
            assert!(!dropped.exists());
        }
        let notes = if records { all.len() } else { 0 };
        let lying = fs::read_dir(&shelf).unwrap().count();
        assert_eq!(lying, all.len() + notes);
    }
}
