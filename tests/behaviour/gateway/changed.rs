//! A source that is changed, or started again, while its sink is away: the journal takes what comes all the same.

use std::collections::BTreeMap;

use hyper::StatusCode;

use crate::support::{
    gateway::{Place, Running},
    http::Client,
};

fn sections(secret: &str, sink: &str) -> String {
    format!(
        "sources:\n  hooks: {{ type: webhook, scheme: gitlab-token, secrets: [{secret}] }}\nsinks:\n  main: {{ {sink} }}\n"
    )
}

async fn post(running: &Running, secret: &str, number: u64) -> Option<StatusCode> {
    let mut client = Client::connect(running.http).await?;
    let headers = [
        ("x-gitlab-token", secret),
        ("content-type", "application/json"),
    ];
    let body = format!("{{\"number\":{number}}}");
    let (status, _) = client.post("/webhook/hooks", &headers, body).await?;
    Some(status)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_secret_and_a_restart_of_the_source_close_no_door_while_the_sink_is_away() {
    // Nobody answers there.
    let away = "type: kafka, brokers: \"127.0.0.1:1\"";
    let folder = tempfile::tempdir().unwrap();
    let place = Place::new(folder.path(), &sections("first", away));
    let running = place.start().await;
    assert_eq!(post(&running, "first", 0).await, Some(StatusCode::ACCEPTED));
    let accepted = async |secret: &str, number: u64| {
        place
            .until("let in", async || {
                let status = post(&running, secret, number).await;
                status == Some(StatusCode::ACCEPTED)
            })
            .await;
    };
    place.configure(&sections("second", away));
    let reloaded = place.command(&["reload"]);
    assert!(reloaded.status.success(), "{reloaded:?}");
    accepted("second", 1).await;
    assert_eq!(
        post(&running, "first", 9).await,
        Some(StatusCode::UNAUTHORIZED)
    );
    let restarted = place.command(&["sources", "restart", "hooks"]);
    assert!(restarted.status.success(), "{restarted:?}");
    accepted("second", 2).await;
    running.kill();

    place.configure(&sections("second", "type: log"));
    let running = place.start().await;
    place.logged(3).await;
    assert!(running.stop().success());
    let mut numbers: BTreeMap<u64, u32> = BTreeMap::new();
    for event in place.tail() {
        let number = event["data"]["number"].as_u64().unwrap();
        *numbers.entry(number).or_default() += 1;
    }
    assert_eq!(numbers, BTreeMap::from([(0, 1), (1, 1), (2, 1)]));
}
