//! One delivery is one event, however often and at whatever moment it comes.

use std::{collections::BTreeMap, time::Duration};

use hyper::StatusCode;
use serde_json::Value;
use tokio::task::JoinSet;

use crate::support::{
    gateway::{DEADLINE, Place},
    http::Client,
    scale,
};

const SENDERS: usize = 64;
const SECTIONS: &str = r#"
sources:
  hooks:
    type: webhook
    verify: { alg: token, signature: { from: "header:x-token" }, dedup: "header:x-delivery" }
    secrets: [s3cret]
"#;

/// What became of one attempt: nothing if the connection broke.
async fn attempt(address: std::net::SocketAddr, delivery: &str) -> Option<(StatusCode, String)> {
    let mut client = Client::connect(address).await?;
    let headers = [
        ("x-token", "s3cret"),
        ("x-delivery", delivery),
        ("content-type", "application/json"),
    ];
    let body = format!(r#"{{"delivery":"{delivery}"}}"#);
    let (status, answer) = client.post("/webhook/hooks", &headers, body).await?;
    let answer: Value = serde_json::from_slice(&answer).ok()?;
    Some((status, answer["id"].as_str().unwrap_or_default().to_owned()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_at_once_and_a_kill_in_between_are_one_event() {
    let folder = tempfile::tempdir().unwrap();
    let place = Place::new(folder.path(), SECTIONS);
    let rounds = scale(6, 40);
    for round in 0..rounds {
        let delivery = format!("d-{round}");
        let running = place.start().await;
        let mut senders = JoinSet::new();
        for _ in 0..SENDERS {
            let (address, delivery) = (running.http, delivery.clone());
            senders.spawn(async move { attempt(address, &delivery).await });
        }
        // Another moment each round: before, during and after the first acceptance.
        tokio::time::sleep(Duration::from_millis(round * 7 % 40)).await;
        running.kill();
        while let Some(answer) = senders.join_next().await {
            if let Some((status, id)) = answer.unwrap() {
                assert!(status.is_success(), "{status}");
                assert_eq!(id, delivery);
            }
        }
        let running = place.start().await;
        let mut accepted = 0;
        let mut senders = JoinSet::new();
        for _ in 0..SENDERS {
            let (address, delivery) = (running.http, delivery.clone());
            senders.spawn(async move { attempt(address, &delivery).await });
        }
        while let Some(answer) = tokio::time::timeout(DEADLINE, senders.join_next())
            .await
            .unwrap()
        {
            let (status, id) = answer.unwrap().unwrap();
            assert_eq!(id, delivery);
            accepted += usize::from(status == StatusCode::ACCEPTED);
        }
        assert!(accepted <= 1, "{accepted} of them were taken for the first");
        place.logged(usize::try_from(round).unwrap() + 1).await;
        assert!(running.stop().success());
    }
    let mut logged: BTreeMap<String, u32> = BTreeMap::new();
    for event in place.tail() {
        *logged
            .entry(event["id"].as_str().unwrap().to_owned())
            .or_default() += 1;
    }
    assert_eq!(logged.len() as u64, rounds);
    assert!(logged.values().all(|times| *times == 1), "{logged:?}");
}
