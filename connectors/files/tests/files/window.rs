//! What is older than `dedup_window` is forgotten, and nothing is published again for that.

use std::{collections::BTreeSet, fs, io::Write as _};

use serde_json::json;

use crate::support::{Bench, data, names};
use headgate_sdk::LaneId;

/// Keys of the stored entries, by their first letter.
fn stored(bench: &Bench, kind: char) -> usize {
    let lane = LaneId::from_stored("subject/");
    let entries = bench.world.lanes.stored_entries(&lane);
    entries.keys().filter(|key| key.starts_with(kind)).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_gone_is_forgotten_and_new_again_under_new_ids() {
    let bench = Bench::started(json!({ "dedup_window": "1s", "afterwards": "move" }));
    for n in 0..2500 {
        bench.write(&format!("{n}"), n.to_string());
    }
    bench.until_events(2500).await;
    bench
        .until("everything to be forgotten", |bench| {
            stored(bench, 'c') == 0 && stored(bench, 'f') == 0
        })
        .await;
    bench.write("7", "7");
    let events = bench.until_events(2501).await;
    let ids: BTreeSet<_> = events.iter().map(|event| &event.id).collect();
    assert_eq!(ids.len(), 2501, "an id was given twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_lies_in_its_folder_is_remembered_as_long_as_it_lies_there() {
    let mut bench = Bench::started(json!({ "dedup_window": "1s", "content": "inline" }));
    bench.write("stays", "old");
    bench.write("goes", "too");
    bench.until_events(2).await;
    fs::remove_file(bench.path("goes")).unwrap();
    bench
        .until("contents to be forgotten", |bench| {
            stored(bench, 'c') == 0 && stored(bench, 'f') == 1
        })
        .await;
    bench.crash().await;
    bench.start();
    bench.settled().await;
    assert_eq!(bench.events().len(), 2);
    // The same bytes under another name are new now.
    bench.write("copy", "old");
    let events = bench.until_events(3).await;
    assert_eq!(data(&events[2])["text"], "old");
    assert_eq!(names(bench.inbox.path()), ["copy", "stays"]);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_place_in_a_file_that_grows_outlives_the_window() {
    let bench = Bench::started(json!({
        "dedup_window": "1s", "mode": "append", "records": { "format": "lines" }, "settle": "20ms",
    }));
    bench.write("app.log", "1\n");
    bench.write("old.log", "old\n");
    bench.until_events(2).await;
    fs::remove_file(bench.path("old.log")).unwrap();
    bench
        .until("the file that is gone to be forgotten", |bench| {
            stored(bench, 'a') == 1
        })
        .await;
    let grown = fs::File::options().append(true).open(bench.path("app.log"));
    grown.unwrap().write_all(b"2\n").unwrap();
    let events = bench.until_events(3).await;
    assert_eq!(events[2].data.bytes().unwrap().as_ref(), b"2");
}
