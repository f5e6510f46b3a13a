//! Two gateways that are the same one. Two on one `data_dir` are in `cli::running`.

use std::{collections::BTreeMap, path::Path, process::Command};

use hyper::StatusCode;
use serde_json::Value;

use crate::{
    kafka::topic,
    support::{
        consumer::read_all,
        gateway::{Place, Running},
        server, unique,
    },
};

/// Two gateways with folders of their own.
pub(crate) struct Twins {
    pub(crate) places: [Place; 2],
    folders: [tempfile::TempDir; 2],
}

/// Who goes on, and what the other says.
pub(crate) struct Settled {
    pub(crate) winner: usize,
    pub(crate) said: String,
}

impl Twins {
    pub(crate) fn new(sections: &str) -> Self {
        let folders = [(); 2].map(|()| tempfile::tempdir().unwrap());
        Self {
            places: folders.each_ref().map(|f| Place::new(f.path(), sections)),
            folders,
        }
    }

    pub(crate) fn folder(&self, number: usize) -> &Path {
        self.folders[number].path()
    }

    /// What the first start gave it.
    pub(crate) fn instance(&self, number: usize) -> String {
        let file = self.folder(number).join("data/headgate.json");
        let identity: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
        identity["instance"].as_str().unwrap().to_owned()
    }

    /// Gives the second what the first has in its `data_dir`. Neither may run.
    fn copy(&self) {
        let copied = Command::new("cp")
            .arg("-a")
            .args([0, 1].map(|number| self.folder(number).join("data")))
            .status();
        assert!(copied.unwrap().success());
        assert_eq!(self.instance(0), self.instance(1));
    }

    /// Waits until one of them says that the other has the shard.
    pub(crate) async fn settled(&self, running: &[Running; 2]) -> Settled {
        let mut settled = None;
        let what = "settled between two of one identity";
        self.places[0]
            .until(what, async || {
                let said = [holder(&running[0]).await, holder(&running[1]).await];
                assert!(
                    !said.iter().all(Option::is_some),
                    "both stopped: {said:?}\n{}",
                    self.places[1].log()
                );
                for (loser, said) in said.into_iter().enumerate() {
                    if let Some(said) = said {
                        settled = Some(Settled {
                            winner: 1 - loser,
                            said,
                        });
                    }
                }
                settled.is_some()
            })
            .await;
        settled.unwrap()
    }
}

/// What `/readyz` says of who holds the shard, if somebody else does.
pub(crate) async fn holder(running: &Running) -> Option<String> {
    let state = running.readiness().await?;
    let sink = &state["sinks"][0];
    let reason = sink["reason"].as_str().unwrap_or_default();
    (sink["state"] == "failed" && reason.contains(" is held by ")).then(|| reason.to_owned())
}

/// How often the shards of a group were claimed: more than once each way is a fight.
pub(crate) fn claims(brokers: &str, group: &str) -> usize {
    let records = read_all(brokers, &format!("{group}.checkpoints"), "read_committed");
    let is_claim = |key: &String| key.starts_with("c::");
    let keys = records.iter().filter_map(|record| record.key.as_ref());
    keys.filter(|key| is_claim(key)).count()
}

fn sections(brokers: &str, group: &str, topic: &str) -> String {
    format!(
        r#"
group: {group}
shards: 1
sources:
  hooks: {{ type: webhook, scheme: gitlab-token, secrets: [s3cret] }}
pipeline:
  - route: {{ topic: "{topic}" }}
sink: {{ type: kafka, brokers: "{brokers}", delivery: exactly_once, transactions: {{ interval: 5ms }} }}
"#
    )
}

/// How often each number is in the topic, for a consumer that reads what is committed.
fn numbers(brokers: &str, topic: &str) -> BTreeMap<u64, u32> {
    let mut found = BTreeMap::new();
    for record in read_all(brokers, topic, "read_committed") {
        let data: Value = serde_json::from_slice(record.value.as_ref().unwrap()).unwrap();
        *found.entry(data["number"].as_u64().unwrap()).or_default() += 1;
    }
    found
}

/// A `data_dir` was copied with what its journal still had to deliver, and both go on at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_with_a_copied_data_dir_one_delivers_and_the_other_takes_nothing_more() {
    const BEFORE: u64 = 300;
    let brokers = server("KAFKA_BROKERS", "kafka");
    let (topic, group) = (topic(&brokers, 3, &[]).await, unique("group"));
    // Nobody answers there: what is accepted waits in the journal.
    let twins = Twins::new(&sections("127.0.0.1:1", &group, &topic));
    let first = twins.places[0].start().await;
    for number in 0..BEFORE {
        first.send(format!(r#"{{"number":{number}}}"#)).await;
    }
    first.kill();
    twins.copy();

    for place in &twins.places {
        place.configure(&sections(&brokers, &group, &topic));
    }
    let running = twins.places.each_ref().map(|place| place.launch(None));
    let Settled { winner, said } = twins.settled(&running).await;
    let expected = format!("shard 0 is held by instance {} on host ", twins.instance(0));
    assert!(said.contains(&expected), "{said}");
    // What it would acknowledge now would go nowhere.
    let (winner, loser) = (winner, 1 - winner);
    let place = &twins.places[loser];
    place
        .until("closed at the door", async || {
            running[loser].post(r#"{"number":-1}"#).await == Some(StatusCode::SERVICE_UNAVAILABLE)
        })
        .await;
    let state = running[loser].readiness().await.unwrap();
    let reason = state["sources"][0]["reason"].as_str().unwrap_or_default();
    assert!(reason.contains(&expected), "{state:#}");
    // The other takes events, delivers them, and nobody takes the shard from it again.
    let claimed = claims(&brokers, &group);
    assert!((1..=2).contains(&claimed), "{claimed} claims");
    for number in BEFORE..BEFORE + 20 {
        running[winner]
            .send(format!(r#"{{"number":{number}}}"#))
            .await;
    }
    twins.places[winner]
        .until("delivered", async || {
            numbers(&brokers, &topic).len() as u64 >= BEFORE + 20
        })
        .await;
    let expected: BTreeMap<u64, u32> = (0..BEFORE + 20).map(|number| (number, 1)).collect();
    assert_eq!(numbers(&brokers, &topic), expected);
    assert_eq!(claims(&brokers, &group), claimed);
    assert!(holder(&running[loser]).await.is_some());
    for running in running {
        assert!(running.stop().success());
    }
}

/// Only a producer that writes hears that it was fenced. One that has nothing to write must find out all the same.
#[tokio::test]
async fn one_that_is_idle_finds_out_that_another_took_its_shard() {
    let brokers = server("KAFKA_BROKERS", "kafka");
    let (topic, group) = (topic(&brokers, 1, &[]).await, unique("group"));
    let twins = Twins::new(&sections(&brokers, &group, &topic));
    assert!(twins.places[0].start().await.stop().success());
    twins.copy();
    let idle = twins.places[0].start().await;
    idle.send(r#"{"number":0}"#).await;
    let delivered = async || numbers(&brokers, &topic).len() == 1;
    twins.places[0].until("delivered", delivered).await;

    let other = twins.places[1].start().await;
    let running = [idle, other];
    let Settled { winner, said } = twins.settled(&running).await;
    assert_eq!(winner, 1, "{said}");
    twins.places[0]
        .until("closed at the door", async || {
            running[0].post(r#"{"number":-1}"#).await == Some(StatusCode::SERVICE_UNAVAILABLE)
        })
        .await;
    running[1].send(r#"{"number":1}"#).await;
    twins.places[1]
        .until("delivered", async || numbers(&brokers, &topic).len() == 2)
        .await;
    assert_eq!(numbers(&brokers, &topic), BTreeMap::from([(0, 1), (1, 1)]));
}

/// A copy of `data_dir` was put aside, and took events of its own before it came back: where the other one is in Kafka means nothing in
/// its journal.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_took_events_of_its_own_is_told_so_and_passes_none_over() {
    let brokers = server("KAFKA_BROKERS", "kafka");
    let (topic, group) = (topic(&brokers, 1, &[]).await, unique("group"));
    let there = sections(&brokers, &group, &topic);
    let twins = Twins::new(&there);
    let [one, two] = &twins.places;
    let deliver = async |range: std::ops::Range<u64>| {
        let running = one.start().await;
        for number in range.clone() {
            running.send(format!(r#"{{"number":{number}}}"#)).await;
        }
        one.until("delivered", async || {
            range
                .clone()
                .all(|n| numbers(&brokers, &topic).contains_key(&n))
        })
        .await;
        assert!(running.stop().success());
    };
    deliver(0..5).await;
    twins.copy();
    deliver(5..20).await;
    // Nobody answers there: what is accepted waits in the journal.
    two.configure(&sections("127.0.0.1:1", &group, &topic));
    let running = two.start().await;
    for number in 100..103 {
        running.send(format!(r#"{{"number":{number}}}"#)).await;
    }
    running.kill();

    two.configure(&there);
    let running = two.launch(None);
    let mut lane = String::new();
    two.until("told", async || {
        let Some(state) = running.readiness().await else {
            return false;
        };
        let source = state["sources"][0].to_string();
        let command = source.split("headgate checkpoints set ").nth(1);
        lane = command
            .and_then(|rest| rest.split(' ').next())
            .unwrap_or_default()
            .to_owned();
        source.contains("its checkpoint is of another journal") && !lane.is_empty()
    })
    .await;
    running.kill();
    let moved = two.command(&["checkpoints", "set", &lane, "0"]);
    assert!(moved.status.success(), "{moved:?}");
    let running = two.start().await;
    two.until("delivered after all", async || {
        let found = numbers(&brokers, &topic);
        (100..103).all(|number| found.contains_key(&number))
    })
    .await;
    assert!(running.stop().success());
    let expected: BTreeMap<u64, u32> = (0..5)
        .map(|number| (number, 2))
        .chain((5..20).chain(100..103).map(|number| (number, 1)))
        .collect();
    assert_eq!(numbers(&brokers, &topic), expected);
}
