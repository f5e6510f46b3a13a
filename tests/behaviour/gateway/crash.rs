//! `kill -9` under load.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use hyper::StatusCode;
use tokio::{sync::Mutex, task::JoinSet};

use crate::support::{
    gateway::{DEADLINE, Place},
    http::Client,
    scale,
};

const SECTIONS: &str = r#"
sources:
  hooks: { type: webhook, scheme: gitlab-token, secrets: [s3cret] }
"#;

/// Every number comes twice, and is to go on once.
const WITH_DEDUP: &str = r#"
sources:
  hooks: { type: webhook, scheme: gitlab-token, secrets: [s3cret] }
pipeline:
  - dedup: { key: .number, window: 1h }
"#;

/// How often each number was answered 202, and the next number of each client.
pub(super) type Accepted = Arc<Mutex<BTreeMap<u64, u32>>>;

/// Sends numbered events, one after the other and each so many times, until the connection breaks.
pub(super) async fn send_until_killed(
    address: SocketAddr,
    mut number: u64,
    times: u32,
    accepted: Accepted,
) -> u64 {
    let Some(mut client) = Client::connect(address).await else {
        return number;
    };
    loop {
        let body = format!(r#"{{"object_kind":"push","number":{number}}}"#);
        let headers = [
            ("x-gitlab-token", "s3cret"),
            ("content-type", "application/json"),
        ];
        for _ in 0..times {
            let Some((status, _)) = client.post("/webhook/hooks", &headers, body.clone()).await
            else {
                return number + 1;
            };
            assert_eq!(status, StatusCode::ACCEPTED, "event {number}");
            *accepted.lock().await.entry(number).or_default() += 1;
        }
        number += 1;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_accepted_webhook_is_in_the_log_exactly_once_after_kill_9() {
    exactly_once_after_kills(SECTIONS, 1).await;
}

/// Killed between the key that `dedup` stored and the event in the log, an event is its own and no duplicate when it comes again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dedup_lets_one_of_two_through_whenever_it_is_killed() {
    exactly_once_after_kills(WITH_DEDUP, 2).await;
}

/// Waits until so many are accepted: on a busy machine a moment is too short to prove anything.
pub(super) async fn under_way(place: &Place, accepted: &Accepted, count: u64) {
    place
        .until("under way", async || {
            accepted.lock().await.len() as u64 >= count
        })
        .await;
}

/// How often each number is in the log.
fn logged(place: &Place) -> BTreeMap<u64, u32> {
    let mut logged = BTreeMap::new();
    for event in place.tail() {
        let number = event["data"]["number"].as_u64().unwrap();
        *logged.entry(number).or_default() += 1;
    }
    logged
}

async fn exactly_once_after_kills(sections: &str, times: u32) {
    const CLIENTS: u64 = 8;
    let folder = tempfile::tempdir().unwrap();
    let place = Place::new(folder.path(), sections);
    let accepted = Accepted::default();
    let mut next: Vec<u64> = (0..CLIENTS).map(|client| client * 1_000_000).collect();
    for round in 0..scale(12, 60) {
        let running = place.start().await;
        let mut clients = JoinSet::new();
        for (client, number) in next.iter().copied().enumerate() {
            let (address, accepted) = (running.http, Arc::clone(&accepted));
            clients.spawn(async move {
                let next = send_until_killed(address, number, times, accepted).await;
                (client, next)
            });
        }
        // A different moment each round, without chance: what fails once fails again.
        tokio::time::sleep(Duration::from_millis(30 + round * 37 % 300)).await;
        under_way(&place, &accepted, (round + 1) * 10).await;
        running.kill();
        while let Some(ended) = clients.join_next().await {
            let (client, number) = ended.unwrap();
            next[client] = number;
        }
    }
    let accepted = accepted.lock().await;
    let running = place.start().await;
    // A stop leaves in the journal what it cannot deliver within `limits.shutdown`: let it come to all.
    let started = Instant::now();
    let is_complete =
        |logged: &BTreeMap<u64, u32>| accepted.keys().all(|number| logged.contains_key(number));
    while !is_complete(&logged(&place)) && started.elapsed() < DEADLINE {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(running.stop().success());
    let logged = logged(&place);
    assert!(
        accepted.len() > 100,
        "too little was under way to prove anything: {}",
        accepted.len()
    );
    let lost: Vec<_> = accepted
        .keys()
        .filter(|number| !logged.contains_key(number))
        .collect();
    assert!(
        lost.is_empty(),
        "{} of {} accepted events were lost: {lost:?}",
        lost.len(),
        accepted.len()
    );
    let twice: Vec<_> = logged.iter().filter(|(_, times)| **times > 1).collect();
    assert!(
        twice.is_empty(),
        "events are in the log more than once: {twice:?}"
    );
}
