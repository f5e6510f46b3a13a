//! Stopping with work that cannot be finished.

use crate::support::{gateway::Place, http::Client};

/// A webhook source whose sink never answers.
fn sections(shutdown: &str) -> String {
    format!(
        r#"
limits: {{ shutdown: {shutdown} }}
sources:
  hooks: {{ type: webhook, scheme: gitlab-token, secrets: [s3cret], ack: sink }}
sinks:
  main: {{ type: kafka, brokers: "127.0.0.1:1" }}
"#
    )
}

/// Sends an event that nobody will deliver, and does not wait for the answer.
async fn stuck(place: &Place, address: std::net::SocketAddr) -> tokio::task::JoinHandle<()> {
    let mut client = Client::connect(address).await.unwrap();
    let sending = tokio::spawn(async move {
        let headers = [("x-gitlab-token", "s3cret")];
        let _no_answer = client.post("/webhook/hooks", &headers, "{}").await;
    });
    let metrics = || async {
        let mut client = Client::connect(place.admin()).await?;
        let (_, body) = client.get("/metrics").await?;
        String::from_utf8(body.to_vec()).ok()
    };
    place
        .until("under way", async || {
            let figures = metrics().await.unwrap_or_default();
            let undurable = figures
                .lines()
                .find(|line| line.starts_with("headgate_lane_undurable_batches"));
            undurable.is_some_and(|line| line.ends_with(" 1"))
        })
        .await;
    sending
}

#[tokio::test]
async fn after_the_deadline_it_stops_without_what_is_stuck() {
    let folder = tempfile::tempdir().unwrap();
    let place = Place::new(folder.path(), &sections("1s"));
    let running = place.start().await;
    let sending = stuck(&place, running.http).await;
    assert_eq!(running.stop().code(), Some(0));
    assert!(
        place.log().contains("not everything was durable"),
        "{}",
        place.log()
    );
    sending.abort();
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let place = Place::new(folder.path(), &sections("1h"));
    let running = place.start().await;
    let sending = stuck(&place, running.http).await;
    running.terminate();
    place
        .until("heard", async || {
            place.log().contains("a second signal ends at once")
        })
        .await;
    assert_eq!(running.stop().code(), Some(3));
    sending.abort();
}
