//! What gives way first when there is too much: limits, then the door, then whoever can read again; never what was acknowledged.

use std::{collections::BTreeSet, path::Path};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Response, StatusCode};
use serde_json::Value;

use crate::support::{
    gateway::{Place, Running},
    http::Client,
};

/// Fills the smallest journal that there is in some thirty events.
const PADDING: usize = 4_000_000;
const LIMIT: u64 = 200;

/// A webhook source with a limit, and a folder, both before a sink.
fn sections(inbox: &Path, sink: &str) -> String {
    format!(
        r#"
limits: {{ journal: 128MB }}
sources:
  hooks: {{ type: webhook, scheme: gitlab-token, secrets: [s3cret], max_body: 5MB, pipeline: pushed }}
  inbox: {{ type: files, paths: ["{inbox}"], settle: 50ms, scan_interval: 500ms, afterwards: delete, pipeline: pulled }}
pipelines:
  pushed:
    - rate_limit: {{ limit: {LIMIT}/hour }}
    - remove: {{ fields: [/padding] }}
  pulled: []
sinks:
  main: {{ {sink} }}
"#,
        inbox = inbox.display()
    )
}

async fn post(running: &Running, number: u64, padding: &str) -> Response<Bytes> {
    let body = format!(r#"{{"object_kind":"push","number":{number},"padding":"{padding}"}}"#);
    let request = Request::post("/webhook/hooks")
        .header("x-gitlab-token", "s3cret")
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body)))
        .unwrap();
    let mut client = Client::connect(running.http).await.unwrap();
    client.exchange(request).await.unwrap()
}

fn files(inbox: &Path) -> usize {
    std::fs::read_dir(inbox).unwrap().count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_give_way_first_then_the_door_then_folders_and_what_was_acknowledged_never() {
    const FILES: usize = 5;
    let folder = tempfile::tempdir().unwrap();
    let inbox = folder.path().join("inbox");
    std::fs::create_dir(&inbox).unwrap();
    // Nobody answers there.
    let away = sections(&inbox, "type: kafka, brokers: \"127.0.0.1:1\"");
    let place = Place::new(folder.path(), &away);
    let running = place.start().await;
    let padding = "x".repeat(PADDING);
    let (mut accepted, mut number) = (BTreeSet::new(), 0);

    // Room on its lane and in the journal is what the door asks for.
    loop {
        number += 1;
        assert!(number < 100, "it never was full");
        let answer = post(&running, number, &padding).await;
        match answer.status() {
            StatusCode::ACCEPTED => accepted.insert(number),
            StatusCode::SERVICE_UNAVAILABLE => {
                assert!(answer.headers().contains_key("retry-after"), "{answer:?}");
                break;
            }
            _ => panic!("event {number}: {answer:?}"),
        };
    }
    assert!(accepted.len() > 20, "{accepted:?}");
    // A folder waits where it is.
    for file in 0..FILES {
        std::fs::write(inbox.join(format!("{file}.txt")), format!("file {file}")).unwrap();
    }
    // Over the limit it is 429, before anybody asks for room.
    let limited = loop {
        number += 1;
        assert!(number < 3 * LIMIT, "it never was limited");
        let answer = post(&running, number, &padding[..1_000]).await;
        match answer.status() {
            StatusCode::ACCEPTED => drop(accepted.insert(number)),
            StatusCode::SERVICE_UNAVAILABLE => {}
            StatusCode::TOO_MANY_REQUESTS => break answer,
            _ => panic!("event {number}: {answer:?}"),
        }
    };
    assert!(limited.headers().contains_key("retry-after"), "{limited:?}");
    assert_eq!(files(&inbox), FILES, "no file goes that is not delivered");
    assert_eq!(place.letters(), Vec::<Value>::new(), "nothing is given up");
    // Nor does a crash take anything.
    running.kill();

    place.configure(&sections(&inbox, "type: log"));
    let running = place.start().await;
    place
        .until("all there", async || {
            let events = place.tail();
            let numbers: BTreeSet<u64> = events
                .iter()
                .filter_map(|event| event["data"]["number"].as_u64())
                .collect();
            assert!(numbers.is_subset(&accepted), "what was refused is there");
            let uploaded = events
                .iter()
                .filter(|event| event["type"] == "file.uploaded.v1");
            numbers == accepted && uploaded.count() == FILES
        })
        .await;
    place
        .until("done with the folder", async || files(&inbox) == 0)
        .await;
    assert!(running.stop().success());
}
