//! Files of records, streamed and resumed.

use std::collections::BTreeSet;

use headgate_sdk::Envelope;
use serde_json::json;

use crate::support::{Bench, DEADLINE, data, scaled, subject};

fn records(events: &[Envelope]) -> Vec<&Envelope> {
    let is_record = |event: &&Envelope| event.event_type == "file.record.received.v1";
    events.iter().filter(is_record).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_record_is_an_event_and_the_file_s_own_comes_last() {
    let bench = Bench::started(json!({
        "records": { "format": "csv", "delimiter": ";", "encoding": "windows-1252" },
    }));
    bench.write("kunden.csv", b"id;name\n1;M\xFCller\n2\n3;Meier\n");
    let events = bench.until_events(3).await;
    let file = &events[2];
    assert_eq!(file.event_type, "file.uploaded.v1");
    assert_eq!(
        data(file)["records"],
        json!({ "published": 2, "rejected": 1 })
    );
    let first = &events[0];
    assert_eq!(data(first), json!({ "id": "1", "name": "Müller" }));
    assert_eq!(first.id, format!("{}-0", file.id));
    assert_eq!(first.causationid.as_ref(), Some(&file.id));
    assert_eq!(first.correlationid, file.id);
    assert_eq!(subject(first), "kunden.csv");
    assert_eq!(events[1].id, format!("{}-2", file.id));
    let letters = bench.rejected();
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].reason, "malformed");
    assert_eq!(
        letters[0].place.as_deref(),
        Some("kunden.csv, line 3, column 2")
    );
    assert_eq!(letters[0].envelope.id, format!("{}-1", file.id));
    assert_eq!(letters[0].envelope.data.bytes().unwrap().as_ref(), b"2");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_in_the_middle_resumes_there() {
    let rows = scaled(20_000, 200_000);
    let mut text = String::from("id,text\n");
    for n in 0..rows {
        text.push_str(&format!("{n},row number {n}\n"));
    }
    for packed in [false, true] {
        let mut bench = Bench::new(json!({ "records": { "format": "csv" }, "afterwards": "move" }));
        let content = if packed {
            zstd::encode_all(text.as_bytes(), 1).unwrap()
        } else {
            text.clone().into_bytes()
        };
        let name = "big.csv";
        bench.write(name, content);
        let mut durable_before = 0;
        for _round in 0..3 {
            bench.world.lanes.hold();
            bench.start();
            let sent_some = bench
                .world
                .lanes
                .wait_for(|sent| sent.values().any(|sent| sent.pending.len() > 3000));
            tokio::time::timeout(DEADLINE, sent_some).await.unwrap();
            bench.world.lanes.release_up_to(2);
            bench.crash().await;
            let durable = bench.events().len();
            assert!(durable > durable_before && durable < rows, "{durable}");
            durable_before = durable;
        }
        bench.world.lanes.release();
        bench.start();
        let events = bench.until_events(rows + 1).await;
        let ids: BTreeSet<_> = events.iter().map(|event| &event.id).collect();
        assert_eq!(ids.len(), rows + 1);
        for (n, event) in records(&events).iter().enumerate() {
            assert_eq!(data(event)["id"], n.to_string());
        }
        let counts = json!({ "published": rows, "rejected": 0 });
        assert_eq!(data(&events[rows])["records"], counts);
        bench.until_state(&bench.path(name), "archived").await;
        bench.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_lines_are_text_and_arrays_are_json() {
    let bench = Bench::started(json!({ "records": { "format": "lines" } }));
    bench.write("a.txt", "one\ntwo");
    let events = bench.until_events(3).await;
    assert_eq!(events[0].datacontenttype, "text/plain");
    assert_eq!(events[1].data.bytes().unwrap().as_ref(), b"two");
    let bench = Bench::started(json!({ "records": { "format": "json_array" } }));
    bench.write("a.json", "[{\"a\":1}, {\"a\":}, 3]");
    let events = bench.until_events(3).await;
    assert_eq!(events[0].datacontenttype, "application/json");
    assert_eq!(data(&events[1]), 3);
    assert_eq!(
        bench.rejected()[0].place.as_deref(),
        Some("a.json, line 1, column 16")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_a_file_of_records_is_no_second_file() {
    let bench = Bench::started(json!({ "records": { "format": "lines" } }));
    bench.write("a", "1\n2\n");
    bench.write("b", "1\n2\n");
    bench.settled().await;
    assert_eq!(bench.events().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_version_of_a_file_of_records_is_read_as_a_whole() {
    let bench = Bench::started(json!({ "records": { "format": "lines" } }));
    bench.write("a", "1\n");
    bench.until_events(2).await;
    bench.write("a", "1\n2\n");
    let events = bench.until_events(5).await;
    let ids: BTreeSet<_> = events.iter().map(|event| &event.id).collect();
    assert_eq!(ids.len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_touched_while_it_is_read_goes_on_where_it_was() {
    let rows = 30_000;
    let text: String = (0..rows).map(|n| format!("row number {n}\n")).collect();
    let bench = Bench::new(json!({ "records": { "format": "lines" } }));
    let path = bench.write("rows.txt", &text);
    // Nothing becomes durable, so that the lane is soon full, and the reader waits in the middle of the file.
    bench.world.lanes.hold();
    let mut bench = bench;
    bench.start();
    bench
        .until("some rows to be sent", |bench| {
            let sent = bench.world.lanes.sent();
            sent.values().any(|sent| sent.pending.len() > 3000)
        })
        .await;
    let file = std::fs::File::options().append(true).open(&path).unwrap();
    file.set_modified(std::time::SystemTime::UNIX_EPOCH)
        .unwrap();
    drop(file);
    bench.world.lanes.release();
    let events = bench.until_events(rows + 1).await;
    let ids: BTreeSet<_> = events.iter().map(|event| &event.id).collect();
    assert_eq!(ids.len(), rows + 1);
    bench.settled().await;
    assert_eq!(bench.events().len(), rows + 1);
}
