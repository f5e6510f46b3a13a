//! Refused requests that come back once the secret is mended.

use headgate_sdk::conformance::World;
use serde_json::{Value, json};

use super::support::{DEADLINE, Gate, SECRET, header, post, signed};

fn config(secret: &str) -> Value {
    json!({
        "scheme": "slack", "secrets": [secret], "on_invalid": "quarantine",
        "quarantine": { "max_requests": 3 }
    })
}

#[tokio::test]
async fn what_was_refused_is_accepted_after_the_secret_was_mended() {
    let gate = Gate::in_world(World::new(8 << 20), config("mistyped")).await;
    for number in 0..5 {
        let body =
            json!({ "event_id": format!("e-{number}"), "type": "event_callback" }).to_string();
        let draft = header(
            signed("slack", post(body)),
            "content-type",
            "application/json",
        );
        assert_eq!(gate.send(draft).await.status, 401);
    }
    let answer = gate.run.control("recheck", json!({})).await.unwrap();
    assert_eq!(
        answer,
        json!({ "accepted": 0, "refused": 3, "undecided": 0 }),
        "bounded, the oldest made room"
    );
    gate.run.stop(DEADLINE).await.unwrap();

    let gate = Gate::in_world(gate.world, config(SECRET)).await;
    let dry = gate
        .run
        .control("recheck", json!({ "dry_run": true }))
        .await
        .unwrap();
    assert_eq!(dry["accepted"], 3);
    assert!(gate.events().is_empty());
    let answer = gate.run.control("recheck", json!({})).await.unwrap();
    assert_eq!(answer["accepted"], 3);
    let ids: Vec<String> = gate
        .events()
        .iter()
        .map(|event| event.id.to_string())
        .collect();
    assert_eq!(ids, ["e-2", "e-3", "e-4"]);
    assert_eq!(gate.events()[0].datacontenttype, "application/json");
    let again = gate.run.control("recheck", json!({})).await.unwrap();
    assert_eq!(again["accepted"], 0);
}
