//! What people do to folders, and what becomes of it.

use std::{
    ffi::OsStr,
    fs,
    io::Write as _,
    os::unix::{
        ffi::OsStrExt as _,
        fs::{PermissionsExt as _, symlink},
    },
    path::Path,
    time::{Duration, SystemTime},
};

use crate::support::{Bench, DEADLINE, data, names, subject};
use headgate_sdk::ExtensionValue;
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn an_event_says_what_is_known_of_the_file() {
    let bench = Bench::started(json!({ "content": "inline" }));
    let path = bench.write("2026/Rechnung ä.txt", "hello");
    let events = bench.until_events(1).await;
    let event = &events[0];
    assert_eq!(event.event_type, "file.uploaded.v1");
    assert_eq!(event.source, "urn:headgate:default:files:subject");
    assert_eq!(subject(event), "2026/Rechnung ä.txt");
    assert_eq!(event.partitionkey, event.subject);
    let modified = fs::metadata(&path).unwrap().modified().unwrap();
    assert_eq!(SystemTime::from(event.time), modified);
    let data = data(event);
    assert_eq!(data["name"], "Rechnung ä.txt");
    assert_eq!(data["path"], "2026/Rechnung ä.txt");
    assert_eq!(data["folder"], bench.inbox.path().to_str().unwrap());
    assert_eq!(data["size"], 5);
    assert_eq!(data["text"], "hello");
    assert_eq!(data["media_type"], "text/plain");
    assert_eq!(
        data["hash"]["blake3"],
        blake3::hash(b"hello").to_hex().as_str()
    );
    assert!(data["owner"]["uid"].is_u64());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_still_open_waits() {
    let bench = Bench::started(json!({}));
    let mut file = fs::File::create(bench.path("slow.txt")).unwrap();
    file.write_all(b"half").unwrap();
    // Another file that is complete later passes it.
    bench.write("quick.txt", "x");
    bench.until_events(1).await;
    file.write_all(b" and half").unwrap();
    drop(file);
    let events = bench.until_events(2).await;
    assert_eq!(data(&events[1])["size"], 13);
}

#[tokio::test(flavor = "multi_thread")]
async fn temporary_names_wait_for_their_rename() {
    let bench = Bench::started(json!({}));
    let part = bench.write("a.pdf.part", "x");
    bench.write("~$a.docx", "x");
    bench.write(".hidden/a", "x");
    bench.settled().await;
    fs::rename(part, bench.path("a.pdf")).unwrap();
    let events = bench.until_events(1).await;
    assert_eq!(subject(&events[0]), "a.pdf");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_bytes_are_published_once() {
    let mut bench = Bench::started(json!({}));
    bench.write("a", "same");
    bench.until_events(1).await;
    bench.write("copy of a", "same");
    bench.settled().await;
    bench.stop().await;
    bench.write("copy 2", "same");
    bench.start();
    bench.settled().await;
    fs::rename(bench.path("a"), bench.path("renamed")).unwrap();
    bench.settled().await;
    assert_eq!(bench.subjects(), ["a"]);
    // Two copies, and the new name of the first.
    assert_eq!(bench.status().await["duplicates"], 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn duplicates_can_be_marked() {
    let bench = Bench::started(json!({ "duplicates": "mark" }));
    bench.write("a", "same");
    let first = bench.until_events(1).await[0].clone();
    bench.write("b", "same");
    let events = bench.until_events(2).await;
    assert_ne!(events[1].id, first.id);
    assert_eq!(
        events[1].extensions.get("duplicateof"),
        Some(&ExtensionValue::String(first.id))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn new_bytes_under_the_same_name_are_a_version_and_so_is_the_way_back() {
    let bench = Bench::started(json!({ "content": "inline" }));
    for (n, text) in ["on", "off", "on", "off"].iter().enumerate() {
        bench.write("state.txt", text);
        let events = bench.until_events(n + 1).await;
        assert_eq!(data(&events[n])["text"], *text);
    }
    let ids: std::collections::HashSet<_> = bench.events().into_iter().map(|e| e.id).collect();
    assert_eq!(ids.len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_dropped_while_it_was_down_is_found() {
    let mut bench = Bench::new(json!({}));
    bench.write("before/1", "1");
    bench.start();
    bench.until_events(1).await;
    bench.stop().await;
    bench.write("before/2", "2");
    bench.write("new/3", "3");
    bench.start();
    bench.until_events(3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn folders_that_appear_with_their_files_are_read() {
    let bench = Bench::started(json!({ "scan_interval": "1h" }));
    bench.write("first", "0");
    bench.until_events(1).await;
    let outside = tempfile::tempdir_in(bench.inbox.path().parent().unwrap()).unwrap();
    fs::create_dir_all(outside.path().join("x/y/z")).unwrap();
    fs::write(outside.path().join("x/y/z/moved"), "1").unwrap();
    fs::rename(outside.path().join("x"), bench.path("x")).unwrap();
    fs::create_dir_all(bench.path("a/b/c/d")).unwrap();
    fs::write(bench.path("a/b/c/d/made"), "2").unwrap();
    bench.until_events(3).await;
    fs::write(bench.path("x/y/z/later"), "3").unwrap();
    fs::write(bench.path("a/b/c/d/later"), "4").unwrap();
    bench.until_events(5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_vanishes_and_comes_back_is_watched_again() {
    let bench = Bench::started(json!({ "scan_interval": "1h" }));
    bench.write("a", "1");
    bench.until_events(1).await;
    let away = bench.inbox.path().with_extension("away");
    fs::rename(bench.inbox.path(), &away).unwrap();
    bench
        .until("the warning", |bench| {
            bench
                .warnings()
                .keys()
                .any(|key| key.starts_with("missing:"))
        })
        .await;
    fs::write(away.join("b"), "2").unwrap();
    fs::rename(&away, bench.inbox.path()).unwrap();
    bench.until_events(2).await;
    bench
        .until("no warning", |bench| bench.warnings().is_empty())
        .await;
    bench.write("c", "3");
    bench.until_events(3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_kept_exactly() {
    let bench = Bench::started(json!({}));
    let long = [b"n".repeat(251), b".txt".to_vec()].concat();
    let all: [&[u8]; 8] = [
        "nfc \u{e9}".as_bytes(),
        "nfd e\u{301}".as_bytes(),
        b"invalid \xFF\xFE utf-8",
        b"new\nline",
        b"-rf",
        b"100%25",
        b"tab\tand \"quotes\"",
        &long,
    ];
    for (n, name) in all.iter().enumerate() {
        let path = bench.inbox.path().join(OsStr::from_bytes(name));
        fs::write(path, n.to_string()).unwrap();
    }
    let events = bench.until_events(all.len()).await;
    let mut decoded: Vec<_> = events
        .iter()
        .map(|event| headgate_files::name::decode(&subject(event)).into_os_string())
        .collect();
    let mut expected: Vec<_> = all.iter().map(|name| OsStr::from_bytes(name)).collect();
    decoded.sort();
    expected.sort();
    assert_eq!(decoded, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn links_out_of_the_folder_are_not_followed() {
    let bench = Bench::started(json!({ "content": "inline" }));
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("secret"), "secret").unwrap();
    symlink(outside.path().join("secret"), bench.path("link")).unwrap();
    symlink(outside.path(), bench.path("folder")).unwrap();
    fs::create_dir(bench.path("named-like.pdf")).unwrap();
    bench.settled().await;
    bench.settled().await;
    assert!(
        bench
            .subjects()
            .iter()
            .all(|subject| subject.ends_with(".end"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn empty_files_and_old_clocks_are_files_too() {
    let bench = Bench::started(json!({}));
    bench.write("empty 1", "");
    bench.write("empty 2", "");
    let old = bench.write("old", "x");
    let file = fs::File::options().append(true).open(&old).unwrap();
    let long_ago = SystemTime::UNIX_EPOCH - Duration::from_secs(3600);
    file.set_modified(long_ago).unwrap();
    drop(file);
    let events = bench.until_events(3).await;
    let old = events.iter().find(|e| subject(e) == "old").unwrap();
    assert_eq!(old.time.to_string(), "1969-12-31T23:00:00Z");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_marker_says_when_a_file_is_complete() {
    let bench = Bench::started(json!({ "marker": ".done", "afterwards": "move" }));
    let path = bench.write("a.pdf", "x");
    bench.write("b.pdf", "y");
    bench.write("b.pdf.done", "");
    bench.until_events(1).await;
    assert_eq!(bench.subjects(), ["b.pdf"]);
    bench.write("a.pdf.done", "");
    bench.until_events(2).await;
    bench.until_state(&path, "archived").await;
    bench.until_state(&bench.path("b.pdf"), "archived").await;
    assert_eq!(names(bench.inbox.path()), ["processed"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_choice_is_by_name_size_and_content() {
    let bench = Bench::started(json!({
        "include": ["*.pdf"], "exclude": ["draft*"], "min_size": 6, "max_size": "1KB", "media_types": ["application/pdf"],
    }));
    bench.write("wanted.pdf", "%PDF-1.7");
    bench.write("no pdf.pdf", "words, not a document");
    bench.write("draft.pdf", "%PDF-1.7 draft");
    bench.write("small.pdf", "%PDF-");
    bench.write("other.txt", "%PDF-1.7 other");
    bench.write(
        "large.pdf",
        [b"%PDF-1.7".to_vec(), vec![b'x'; 2000]].concat(),
    );
    bench.until_events(1).await;
    bench.write("second.pdf", "%PDF-1.7 second");
    bench.until_events(2).await;
    assert_eq!(bench.subjects(), ["wanted.pdf", "second.pdf"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn tenants_have_folders_and_lanes_of_their_own() {
    let mut bench = Bench::new(json!({}));
    let pattern = format!("{}/{{tenant}}/drop", bench.inbox.path().display());
    bench.set("paths", json!([pattern]));
    bench.set("afterwards", json!("move"));
    bench.start();
    bench.write("acme/drop/a", "same");
    bench.write("zeta/drop/a", "same");
    bench.write("zeta/elsewhere/a", "other");
    bench.write("beside", "other");
    let mut events = bench.until_events(2).await;
    events.sort_by(|a, b| a.tenantid.cmp(&b.tenantid));
    assert_eq!(events[0].tenantid, "acme");
    assert_eq!(events[0].source, "urn:headgate:acme:files:subject");
    assert_eq!(events[1].tenantid, "zeta");
    let moved = bench.path("acme/drop/processed/a");
    bench.until("the move", |_| moved.exists()).await;
    assert!(bench.path("zeta/elsewhere/a").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_can_be_recognised_across_tenants() {
    let mut bench = Bench::new(json!({ "dedup_scope": "source" }));
    let pattern = format!("{}/{{tenant}}", bench.inbox.path().display());
    bench.set("paths", json!([pattern]));
    bench.start();
    for tenant in ["a", "b", "c"] {
        bench.write(&format!("{tenant}/same"), "same");
    }
    bench
        .until("all to be durable", |bench| {
            let sent = bench.world.lanes.sent();
            let entries: usize = sent
                .keys()
                .map(|lane| {
                    let entries = bench.world.lanes.stored_entries(lane);
                    entries.keys().filter(|key| key.starts_with("f/")).count()
                })
                .sum();
            entries == 3
        })
        .await;
    assert_eq!(bench.events().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn large_files_lie_in_the_claim_check_store() {
    let bench = Bench::started(json!({ "content": "claim_check", "afterwards": "delete" }));
    let content = vec![b'x'; 3 << 20];
    bench.write("big.bin", &content);
    let events = bench.until_events(1).await;
    let uri = events[0].dataref.clone().unwrap();
    bench.until_state(&bench.path("big.bin"), "archived").await;
    let blob = Path::new(uri.strip_prefix("file://").unwrap());
    assert_eq!(fs::read(blob).unwrap(), content);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_one_stem_are_one_event() {
    let bench = Bench::started(json!({
        "bundle": { "by": "stem", "complete": [".pdf", "xml"], "window": "6s" }, "afterwards": "move",
    }));
    bench.write("inv-17.xml", "<a/>");
    bench.write("inv-18.pdf", "%PDF-18");
    bench.settle_bundle("inv-17.xml").await;
    bench.write("inv-17.pdf", "%PDF-17");
    let events = bench.until_events(2).await;
    assert_eq!(events[0].event_type, "file.bundle.received.v1");
    let whole = data(&events[0]);
    assert_eq!(
        (&whole["bundle"], &whole["complete"]),
        (&json!("inv-17"), &json!(true))
    );
    assert_eq!(whole["files"][0]["name"], "inv-17.pdf");
    assert_eq!(whole["files"][1]["name"], "inv-17.xml");
    let part = data(&events[1]);
    assert_eq!(
        (&part["bundle"], &part["complete"]),
        (&json!("inv-18"), &json!(false))
    );
    for name in ["inv-17.xml", "inv-17.pdf", "inv-18.pdf"] {
        bench.until_state(&bench.path(name), "archived").await;
    }
}

impl Bench {
    /// Waits until a file is read and waits in its bundle.
    async fn settle_bundle(&self, name: &str) {
        let path = self.path(name);
        assert!(path.exists());
        let waited = tokio::time::timeout(DEADLINE, async {
            while self.status().await["states"]["stable"]["count"] != 2 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        waited.await.unwrap();
    }
}

/// No scan but the first one and those of the folders that appear.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_put_into_a_folder_as_it_appears_is_found_at_once() {
    let bench = Bench::started(json!({ "scan_interval": "1h", "stuck_after": "1h" }));
    bench.scanned(0).await;
    let outside = tempfile::tempdir_in(bench.inbox.path().parent().unwrap()).unwrap();
    for n in 0..40 {
        let file = |folder: &str, name: &str| {
            let folder = bench.path(&format!("{n}/{folder}"));
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join(name), format!("{n}{name}")).unwrap();
        };
        // Moved in with what it holds, made anew, and filled while nobody may have heard of it yet.
        if n % 2 == 0 {
            let moved = outside.path().join(n.to_string());
            fs::create_dir_all(moved.join("a/b")).unwrap();
            fs::write(moved.join("a/b/before"), format!("{n}before")).unwrap();
            fs::rename(&moved, bench.path(&n.to_string())).unwrap();
        } else {
            file("a/b", "before");
        }
        file("a/b", "after");
        file("a/c/d", "deeper");
    }
    bench.until_events(120).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_share_is_looked_at_without_events() {
    let bench = Bench::started(json!({ "watch": "poll" }));
    bench.write("a/b/c", "1");
    bench.until_events(1).await;
    bench.write("a/b/d", "2");
    bench.write("a/b/c", "3");
    bench.until_events(3).await;
}

/// Root reads everything, so the right to read is taken away by a mount, not by a mode.
#[tokio::test(flavor = "multi_thread")]
async fn an_unreadable_file_is_named_with_its_remedy() {
    let bench = Bench::started(json!({}));
    if rustix::process::geteuid().is_root() {
        // A directory that root cannot list does not exist on a local disk; a file name that cannot be opened does.
        return unreadable_as_root(bench).await;
    }
    let path = bench.write("secret.txt", "x");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
    bench
        .until("the warning", |bench| {
            bench.warnings().contains_key("unreadable")
        })
        .await;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    bench.until_events(1).await;
    bench
        .until("no warning", |bench| bench.warnings().is_empty())
        .await;
}

/// In place of a file that cannot be read: more folders inside each other than are entered.
async fn unreadable_as_root(bench: Bench) {
    let mut deep = bench.inbox.path().to_owned();
    for _ in 0..130 {
        deep.push("d");
    }
    fs::create_dir_all(&deep).unwrap();
    bench
        .until("the warning", |bench| {
            bench
                .warnings()
                .values()
                .any(|text| text.contains("nested too deep"))
        })
        .await;
    bench.write("a", "x");
    bench.until_events(1).await;
}

/// The queue of the kernel is made tiny for the instance that the source opens: nearly every event is lost.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_missed_when_the_kernel_s_queue_runs_over() {
    const LIMIT: &str = "/proc/sys/fs/inotify/max_queued_events";
    let limit = fs::read_to_string(LIMIT).unwrap();
    fs::write(LIMIT, "4")
        .unwrap_or_else(|error| panic!("this test sets {LIMIT}: run it as root ({error})"));
    let bench = Bench::started(json!({ "scan_interval": "1h" }));
    bench.write("first", "first");
    bench.until_events(1).await;
    fs::write(LIMIT, limit).unwrap();
    let scans = bench.status().await["scans"].as_u64().unwrap();
    for n in 0..1000 {
        bench.write(&format!("{}/{n}", n % 7), n.to_string());
    }
    bench.until_events(1001).await;
    assert!(
        bench.status().await["scans"].as_u64().unwrap() > scans,
        "no event was lost"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stuck_file_is_named_with_its_remedy() {
    let bench = Bench::started(json!({ "stuck_after": "100ms" }));
    let mut file = fs::File::create(bench.path("forgotten.pdf")).unwrap();
    file.write_all(b"half").unwrap();
    bench
        .until("the warning", |bench| {
            bench.warnings().get("stuck").is_some_and(|text| {
                text.contains("forgotten.pdf: not taken") && text.contains("close the program")
            })
        })
        .await;
    drop(file);
    bench.until_events(1).await;
    bench
        .until("no warning", |bench| bench.warnings().is_empty())
        .await;
}
