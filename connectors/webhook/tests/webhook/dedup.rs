//! One delivery, one event.

use std::sync::Arc;

use headgate_sdk::conformance::World;
use serde_json::{Value, json};

use super::support::{DEADLINE, Gate, SECRET, header, post, signed};

fn config(ack: &str) -> Value {
    json!({ "scheme": "github", "secrets": [SECRET], "ack": ack })
}

fn delivery(id: &str) -> headgate_webhook::verify::Draft {
    signed(
        "github",
        header(post(r#"{"a":1}"#), "x-github-delivery", id),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_64_at_once_one_is_the_event_and_all_get_its_id() {
    for ack in ["journal", "sink"] {
        let gate = Arc::new(Gate::open(config(ack)).await);
        gate.world.lanes.hold();
        let senders: Vec<_> = (0..64)
            .map(|_| {
                let gate = Arc::clone(&gate);
                tokio::spawn(async move { gate.send(delivery("d-1")).await })
            })
            .collect();
        let sent = gate
            .world
            .lanes
            .wait_for(|sent| sent.values().any(|lane| !lane.pending.is_empty()));
        tokio::time::timeout(DEADLINE, sent).await.unwrap();
        gate.world.lanes.release();
        let mut statuses = Vec::new();
        for sender in senders {
            let answer = sender.await.unwrap();
            assert_eq!(answer.id(), "d-1");
            statuses.push(answer.status.as_u16());
        }
        statuses.sort_unstable();
        assert_eq!(
            (statuses[0], statuses[62], statuses[63]),
            (200, 200, 202),
            "{ack}"
        );
        gate.event();
    }
}

#[tokio::test]
async fn a_failed_attempt_does_not_poison_the_id() {
    let mut config = config("journal");
    config["timeout"] = "50ms".into();
    let gate = Gate::open(config).await;
    gate.world.lanes.pause(true);
    assert_eq!(gate.send(delivery("d-1")).await.status, 503);
    assert!(gate.events().is_empty());
    gate.world.lanes.pause(false);
    assert_eq!(gate.send(delivery("d-1")).await.status, 202);
    assert_eq!(gate.send(delivery("d-1")).await.status, 200);
    gate.event();
}

#[tokio::test]
async fn a_sender_that_gives_up_leaves_its_event_and_its_id() {
    let mut config = config("sink");
    config["timeout"] = "50ms".into();
    let gate = Gate::open(config).await;
    gate.world.lanes.hold();
    assert_eq!(
        gate.send(delivery("d-1")).await.status,
        503,
        "not durable in time"
    );
    gate.world.lanes.release();
    let again = async {
        loop {
            let answer = gate.send(delivery("d-1")).await;
            if answer.status == 200 {
                break;
            }
        }
    };
    tokio::time::timeout(DEADLINE, again).await.unwrap();
    gate.event();
}

#[tokio::test]
async fn ids_survive_a_crash_with_their_events() {
    let world = World::new(8 << 20);
    world.lanes.hold();
    let gate = Gate::in_world(world, config("journal")).await;
    assert_eq!(gate.send(delivery("d-1")).await.status, 202);
    gate.run.kill().await;
    gate.world.lanes.crash();
    let gate = Gate::in_world(gate.world, config("journal")).await;
    let again = gate.send(delivery("d-1")).await;
    assert_eq!((again.status.as_u16(), again.id().as_str()), (200, "d-1"));
    gate.event();
}

#[tokio::test]
async fn memory_is_bounded_and_the_oldest_ids_make_room() {
    let mut config = config("journal");
    config["dedup"] = json!({ "max_ids": 10 });
    let gate = Gate::open(config).await;
    for number in 0..40 {
        assert_eq!(
            gate.send(delivery(&format!("d-{number}"))).await.status,
            202
        );
    }
    assert_eq!(gate.send(delivery("d-39")).await.status, 200);
    assert_eq!(gate.send(delivery("d-0")).await.status, 202, "forgotten");
    let lane = gate.world.lanes.sent().into_keys().next().unwrap();
    assert!(gate.world.lanes.stored_entries(&lane).len() <= 11);
}

#[tokio::test]
async fn the_id_may_be_the_bodys_hash_or_nothing() {
    let mut by_body = config("journal");
    by_body["dedup"] = json!({ "from": "body" });
    let gate = Gate::open(by_body).await;
    assert_eq!(gate.send(delivery("d-1")).await.status, 202);
    assert_eq!(gate.send(delivery("d-2")).await.status, 200);

    let gate = Gate::open(json!({ "scheme": "meta", "secrets": [SECRET] })).await;
    let one = gate.send(signed("meta", post("{}"))).await;
    let other = gate.send(signed("meta", post("{}"))).await;
    assert_eq!((one.status.as_u16(), other.status.as_u16()), (202, 202));
    assert_ne!(
        one.id(),
        other.id(),
        "a hash alone never suppresses an event"
    );
}
