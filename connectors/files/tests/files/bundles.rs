//! Files that belong together by the time at which they come: one event for what comes within a window.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::{Bench, data, subject};

fn window(time: &str) -> Value {
    json!({ "by": "window", "window": time })
}

/// The names of a bundle's files, in their order.
fn members(bundle: &Value) -> Vec<&str> {
    let files = bundle["files"].as_array().unwrap();
    files
        .iter()
        .map(|file| file["path"].as_str().unwrap())
        .collect()
}

impl Bench {
    /// Waits until so many files are read and wait in their bundles.
    async fn until_waiting(&self, count: u64) {
        let waiting = async || self.status().await["states"]["stable"]["count"].as_u64();
        let waited = tokio::time::timeout(std::time::Duration::from_secs(60), async {
            while waiting().await != Some(count) {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        });
        waited.await.expect("files are taken into their bundles");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_into_a_folder_within_a_window_is_one_event() {
    let mut bench = Bench::new(json!({ "bundle": window("1s"), "afterwards": "move" }));
    // All of it is there when the source starts, so that it is found at once, however slow this machine is.
    for name in ["a/2.pdf", "a/1.csv", "b/1.pdf", "1.txt"] {
        bench.write(name, name);
    }
    bench.start();
    let events = bench.until_events(3).await;
    for event in &events {
        let (name, bundle) = (subject(event), data(event));
        assert_eq!(event.event_type, "file.bundle.received.v1");
        assert_eq!(
            (&bundle["bundle"], &bundle["complete"]),
            (&json!(name), &json!(true))
        );
        let expected: &[&str] = match name.as_str() {
            "a" => &["a/1.csv", "a/2.pdf"],
            "b" => &["b/1.pdf"],
            // The folder that is watched.
            "." => &["1.txt"],
            other => panic!("{other}"),
        };
        assert_eq!(members(&bundle), expected);
    }
    // The next one in a folder opens a bundle of its own.
    bench.write("a/3.pdf", "a/3.pdf");
    let events = bench.until_events(4).await;
    assert_eq!(members(&data(&events[3])), ["a/3.pdf"]);
    for name in ["a/1.csv", "a/2.pdf", "a/3.pdf", "b/1.pdf", "1.txt"] {
        bench.until_state(&bench.path(name), "archived").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_in_the_middle_of_a_window_loses_and_repeats_nothing() {
    // A window that does not end while this test looks.
    let mut bench = Bench::started(json!({ "bundle": window("1h") }));
    bench.write("a/1.pdf", "1");
    bench.write("a/2.pdf", "2");
    bench.until_waiting(2).await;
    for name in ["a/1.pdf", "a/2.pdf"] {
        assert_eq!(bench.stored(&bench.path(name)), None, "nothing was sent");
    }
    bench.crash().await;
    assert!(bench.events().is_empty());
    bench.write("a/3.pdf", "3");
    bench.set("bundle", window("1s"));
    bench.start();
    let events = bench.until_events(1).await;
    assert_eq!(
        members(&data(&events[0])),
        ["a/1.pdf", "a/2.pdf", "a/3.pdf"]
    );
    // What is durable does not come again.
    bench.settled().await;
    bench.stop().await;
    bench.start();
    bench.settled().await;
    assert_eq!(bench.events().len(), 1);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_that_was_sent_and_is_not_durable_comes_again_under_its_id() {
    let mut bench = Bench::new(json!({ "bundle": window("300ms") }));
    bench.world.lanes.hold();
    bench.write("a/1.pdf", "1");
    bench.write("a/2.pdf", "2");
    bench.start();
    let sent = |bench: &Bench| -> BTreeSet<String> {
        let lanes = bench.world.lanes.sent().into_values();
        lanes
            .flat_map(|lane| lane.pending)
            .map(|event| event.id.to_string())
            .collect()
    };
    bench
        .until("the bundle to be sent", |bench| !sent(bench).is_empty())
        .await;
    let before = sent(&bench);
    bench.crash().await;
    bench.world.lanes.release();
    bench.start();
    let events = bench.until_events(1).await;
    assert_eq!(BTreeSet::from([events[0].id.to_string()]), before);
    assert_eq!(members(&data(&events[0])), ["a/1.pdf", "a/2.pdf"]);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_a_file_in_its_own_bundle_is_no_second_member() {
    let mut bench = Bench::new(json!({ "bundle": window("300ms") }));
    for name in ["a/1.pdf", "a/copy.pdf"] {
        bench.write(name, "the same");
    }
    bench.start();
    let events = bench.until_events(1).await;
    assert_eq!(members(&data(&events[0])).len(), 1);
    bench.settled().await;
    assert_eq!(bench.status().await["duplicates"], 1);
    bench.stop().await;
}
