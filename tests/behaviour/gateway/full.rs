//! What is shed when there is no room: new events, at the door, and never one that was acknowledged.

use std::{collections::BTreeSet, time::Instant};

use hyper::StatusCode;

use crate::support::gateway::{DEADLINE, Place, Running};

/// The smallest journal there is: two segments.
fn sections(sink: &str) -> String {
    format!(
        r#"
limits: {{ journal: 128MB }}
sources:
  hooks: {{ type: webhook, scheme: gitlab-token, secrets: [s3cret], max_body: 5MB }}
pipeline:
  - remove: {{ fields: [/padding] }}
sinks:
  main: {{ {sink} }}
"#
    )
}

async fn post(running: &Running, number: u64, padding: &str) -> StatusCode {
    let body = format!(r#"{{"object_kind":"push","number":{number},"padding":"{padding}"}}"#);
    running.post(body).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_journal_sheds_at_the_door_and_keeps_what_it_acknowledged() {
    shed_and_keep().await;
}

pub(super) async fn shed_and_keep() {
    let folder = tempfile::tempdir().unwrap();
    // Nobody listens there.
    let away = sections("type: kafka, brokers: \"127.0.0.1:1\"");
    let place = Place::new(folder.path(), &away);
    let running = place.start().await;
    let padding = "x".repeat(4_000_000);
    let mut accepted = BTreeSet::new();
    let mut number = 0;
    loop {
        number += 1;
        assert!(number < 100, "it never was full");
        match post(&running, number, &padding).await {
            StatusCode::ACCEPTED => accepted.insert(number),
            StatusCode::SERVICE_UNAVAILABLE => break,
            status => panic!("event {number}: {status}"),
        };
    }
    assert!(accepted.len() > 20, "{}", accepted.len());
    // Also after a crash: it is still full, and still holds everything.
    running.kill();
    let running = place.start().await;
    assert_eq!(
        post(&running, 1_000, &padding).await,
        StatusCode::SERVICE_UNAVAILABLE
    );
    running.kill();

    place.configure(&sections("type: log"));
    let running = place.start().await;
    let started = Instant::now();
    loop {
        let there: BTreeSet<u64> = place
            .tail()
            .iter()
            .map(|event| event["data"]["number"].as_u64().unwrap())
            .collect();
        if accepted.is_subset(&there) {
            assert_eq!(there, accepted, "what was refused is not there");
            break;
        }
        assert!(started.elapsed() < DEADLINE, "{accepted:?} {there:?}");
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    // There is room again.
    while post(&running, 2_000, &padding).await != StatusCode::ACCEPTED {
        assert!(started.elapsed() < DEADLINE, "it stays full");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert!(running.stop().success());
}
