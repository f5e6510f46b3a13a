//! A disk without room, under everything that the gateway keeps.

use std::{collections::BTreeMap, time::Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Response, StatusCode};
use serde_json::Value;

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

async fn post(running: &Running, number: u64, padding: &str) -> Response<Bytes> {
    let mut client = Client::connect(running.http).await.unwrap();
    let body = format!(r#"{{"object_kind":"push","number":{number},"padding":"{padding}"}}"#);
    let request = Request::post("/webhook/hooks")
        .header("x-gitlab-token", "s3cret")
        .header("content-type", "application/json");
    let request = request.body(Full::new(Bytes::from(body))).unwrap();
    client.exchange(request).await.unwrap()
}

/// The status and the state that `/readyz` answers.
async fn readyz(running: &Running) -> Option<(StatusCode, Value)> {
    let (status, body) = Client::connect(running.admin).await?.get("/readyz").await?;
    Some((status, serde_json::from_slice(&body).unwrap()))
}

async fn assert_says_full(running: &Running) {
    let began = Instant::now();
    loop {
        if let Some((StatusCode::SERVICE_UNAVAILABLE, state)) = readyz(running).await {
            let reason = state["reason"].as_str().unwrap_or_default();
            assert!(reason.contains("no room"), "{state}");
            return;
        }
        assert!(began.elapsed() < DEADLINE, "it says nothing of a full disk");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_sheds_at_the_door_keeps_what_was_accepted_and_goes_on_with_room() {
    let folder = tempfile::tempdir().unwrap();
    let disk = SmallDisk::mount(&folder.path().join("data"), MEGABYTES).unwrap();
    let place = Place::new(folder.path(), SECTIONS);
    let running = place.start().await;
    disk.fill();
    let padding = "x".repeat(4_000_000);
    let mut accepted = Vec::new();
    let mut number = 0;
    loop {
        number += 1;
        assert!(number < 100, "it never was full");
        let answer = post(&running, number, &padding).await;
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
    assert_says_full(&running).await;
    // Also after a crash.
    running.kill();
    let running = place.launch(None);
    assert_says_full(&running).await;
    disk.make_room();
    let began = Instant::now();
    while post(&running, number, "").await.status() != StatusCode::ACCEPTED {
        assert!(began.elapsed() < DEADLINE, "it stays full: {}", place.log());
        number += 1;
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    accepted.push(number);
    assert!(running.stop().success());
    let mut found: BTreeMap<u64, u32> = BTreeMap::new();
    for event in place.tail() {
        *found
            .entry(event["data"]["number"].as_u64().unwrap())
            .or_default() += 1;
    }
    let expected: BTreeMap<u64, u32> = accepted.into_iter().map(|number| (number, 1)).collect();
    assert_eq!(found, expected);
}
