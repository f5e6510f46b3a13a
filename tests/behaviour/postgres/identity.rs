//! Two gateways of one group that read the same slot into Kafka exactly once: one has the shard, and with it the slot.

use serde_json::Value;

use super::{database::Database, fold::row_events};
use crate::{
    gateway::identity::{Settled, Twins, claims, holder},
    support::{consumer::read_events, server, unique},
};

async fn insert(database: &Database, numbers: std::ops::Range<u64>) {
    for number in numbers {
        database
            .run(&format!("INSERT INTO numbers VALUES ({number})"))
            .await;
    }
}

/// The rows in the topic, in its order.
fn rows(events: &[Value]) -> Vec<u64> {
    row_events(events)
        .map(|event| event["data"]["after"]["id"].as_u64().unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_that_read_one_slot_one_stops_names_the_other_and_lets_go_of_the_slot() {
    let brokers = server("KAFKA_BROKERS", "kafka");
    // One partition shows the order of everything.
    let topic = crate::kafka::topic(&brokers, 1, &[]).await;
    let group = unique("group");
    let database = Database::with_numbers().await;
    let sections = format!(
        r#"
group: {group}
shards: 1
sources:
  rows: {source}
pipeline:
  - route: {{ topic: "{topic}" }}
sink: {{ type: kafka, brokers: "{brokers}", mode: structured, delivery: exactly_once, transactions: {{ interval: 5ms }} }}
"#,
        source = database.source(),
    );
    let twins = Twins::new(&sections);
    let read = || tokio::task::block_in_place(|| rows(&read_events(&brokers, &topic)));
    let mut running = twins.places.each_ref().map(|place| place.launch(None));
    insert(&database, 0..200).await;

    let Settled { winner, said } = twins.settled(&running).await;
    let held_by = |winner: usize| {
        let instance = twins.instance(winner);
        format!("shard 0 is held by instance {instance} on host ")
    };
    assert!(said.contains(&held_by(winner)), "{said}");
    // The other one reads the slot, although this one may have had it.
    database.all_confirmed().await;
    assert_eq!(read(), (0..200).collect::<Vec<_>>());
    // It stays like that: a source that is started again does not take the shard back.
    let claimed = claims(&brokers, &group);
    assert!((1..=2).contains(&claimed), "{claimed} claims");
    let loser = 1 - winner;
    for _ in 0..3 {
        let restarted = twins.places[loser].command(&["sources", "restart", "rows"]);
        assert!(restarted.status.success(), "{restarted:?}");
        twins.places[loser]
            .until("refused again", async || {
                let state = running[loser].readiness().await.unwrap();
                state["sources"][0].to_string().contains(&held_by(winner))
            })
            .await;
    }
    insert(&database, 200..300).await;
    database.all_confirmed().await;
    assert_eq!(read(), (0..300).collect::<Vec<_>>());
    assert_eq!(claims(&brokers, &group), claimed);

    // Started again, it is the last one, and the one that has the slot now gives it up.
    let [one, two] = running;
    let (stays, goes) = if winner == 0 { (one, two) } else { (two, one) };
    assert!(goes.stop().success());
    let again = twins.places[loser].launch(None);
    running = if winner == 0 {
        [stays, again]
    } else {
        [again, stays]
    };
    twins.places[winner]
        .until("fenced in its turn", async || {
            holder(&running[winner])
                .await
                .is_some_and(|said| said.contains(&held_by(loser)))
        })
        .await;
    insert(&database, 300..400).await;
    database.all_confirmed().await;
    assert_eq!(read(), (0..400).collect::<Vec<_>>());
    assert_eq!(claims(&brokers, &group), claimed + 1);
    for running in running {
        assert!(running.stop().success());
    }
    database.drop_all().await;
}
