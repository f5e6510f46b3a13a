//! A disk without room, under everything that the gateway keeps.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Response, StatusCode};
use tokio::time::timeout;

use crate::support::{
    disk::SmallDisk,
    gateway::{DEADLINE, Place, Running},
    http::Client,
};

const SECTIONS: &str = r#"
sources:
  hooks: { type: webhook, scheme: gitlab-token, secrets: [s3cret], max_body: 5MB }
pipeline:
  - remove: { fields: [/padding] }
"#;
/// What the stores take at the start, and as much again.
const MEGABYTES: u32 = 400;

/// `None` if nobody answers.
async fn post(running: &Running, number: u64, padding: &str) -> Option<Response<Bytes>> {
    let body = format!(r#"{{"object_kind":"push","number":{number},"padding":"{padding}"}}"#);
    let request = Request::post("/webhook/hooks")
        .header("x-gitlab-token", "s3cret")
        .header("content-type", "application/json");
    let request = request.body(Full::new(Bytes::from(body))).unwrap();
    let answer = async {
        let mut client = Client::connect(running.http).await?;
        client.exchange(request).await
    };
    timeout(DEADLINE, answer).await.expect("an answer in time")
}

/// Waits until something holds.
async fn until(what: &str, place: &Place, mut holds: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !holds().await {
        assert!(began.elapsed() < DEADLINE, "not {what}: {}", place.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_sheds_at_the_door_keeps_what_was_accepted_and_goes_on_with_room() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(&folder.path().join("data"), MEGABYTES) else {
        eprintln!("no disk may be mounted here: the cap of the journal stands for its end");
        return super::full::shed_and_keep().await;
    };
    let place = Place::new(folder.path(), SECTIONS);
    let running = place.start().await;
    disk.fill();
    let padding = "x".repeat(4_000_000);
    let mut accepted = Vec::new();
    let mut number = 0;
    loop {
        number += 1;
        assert!(number < 100, "it never was full");
        let answer = post(&running, number, &padding).await.unwrap();
        match answer.status() {
            StatusCode::ACCEPTED => accepted.push(number),
            StatusCode::SERVICE_UNAVAILABLE => {
                assert!(answer.headers().contains_key("retry-after"), "{answer:?}");
                break;
            }
            _ => panic!("event {number}: {answer:?}"),
        }
    }
    assert!(accepted.len() > 5, "{accepted:?}");
    until("said by /readyz", &place, async || {
        let mut client = Client::connect(running.admin).await.unwrap();
        let (status, body) = client.get("/readyz").await.unwrap();
        let said = String::from_utf8(body.to_vec()).unwrap();
        status == StatusCode::SERVICE_UNAVAILABLE && said.contains("free disk space")
    })
    .await;
    // A crash, and a start without room: it waits for some.
    running.kill();
    let said_before = place.log().len();
    let running = place.launch(None);
    until("said on standard error", &place, async || {
        place.log()[said_before..]
            .to_lowercase()
            .contains("no space left")
    })
    .await;
    disk.make_room();
    until("taken again", &place, async || {
        number += 1;
        let answer = post(&running, number, "").await;
        answer.is_some_and(|answer| answer.status() == StatusCode::ACCEPTED)
    })
    .await;
    accepted.push(number);
    let expected: BTreeMap<u64, u32> = accepted.into_iter().map(|number| (number, 1)).collect();
    until("delivered", &place, async || {
        let found = logged(&place);
        expected.keys().all(|number| found.contains_key(number))
    })
    .await;
    assert!(running.stop().success());
    assert_eq!(logged(&place), expected);
}

/// How often each number is in the log.
fn logged(place: &Place) -> BTreeMap<u64, u32> {
    let mut found = BTreeMap::new();
    for event in place.tail() {
        let number = event["data"]["number"].as_u64().unwrap();
        *found.entry(number).or_default() += 1;
    }
    found
}
