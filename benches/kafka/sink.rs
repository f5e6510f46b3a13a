//! The sink, called as a lane's stack calls it.

use std::sync::Arc;

use futures::{StreamExt as _, stream::FuturesUnordered};
use headgate::{
    dead_letters::DeadLetterStore,
    runtime::{Checkpoints, Identity},
    sink::{
        self, Checkpoint, LaneSink, Outcome, Record, Sink as _, SinkBatch,
        kafka::{Config, Delivery, KafkaSink, Member, Mode},
    },
};
use headgate_sdk::{Data, Envelope, LaneId, Position};
use tokio::{runtime::Runtime, sync::Mutex};
use tower::{Service as _, ServiceExt as _};

use crate::{
    BATCH,
    harness::{Measured, measure},
};

/// Batches that may be under way, as in the window in front of a sink.
const WINDOW: usize = 256;

pub(crate) struct Sink {
    sink: KafkaSink,
    /// One on each shard; batches go round.
    lanes: Mutex<Vec<LaneSink>>,
    batches: Vec<Arc<SinkBatch>>,
    /// Of exactly once.
    _data_dir: Option<tempfile::TempDir>,
}

impl Sink {
    pub(crate) fn at_least_once(
        runtime: &Runtime,
        brokers: &str,
        mode: Mode,
        batches: Vec<Arc<SinkBatch>>,
    ) -> Self {
        let mut config = Config::new(brokers);
        config.mode = mode;
        let _inside = runtime.enter();
        let sink = KafkaSink::open("bench".into(), config).expect("a sink");
        let lane = sink.open_lane(&LaneId::from_stored("bench/0"), 0);
        Self {
            sink,
            lanes: Mutex::new(vec![lane]),
            batches,
            _data_dir: None,
        }
    }

    pub(crate) fn exactly_once(
        runtime: &Runtime,
        brokers: &str,
        shards: u16,
        batches: &[Arc<SinkBatch>],
    ) -> Self {
        let _inside = runtime.enter();
        let folder = tempfile::tempdir().expect("a temporary folder");
        let group = format!("bench-{:016x}", fastrand::u64(..));
        let letters =
            DeadLetterStore::open(&folder.path().join("letters"), 1 << 30).expect("a store");
        let member = Member {
            group: group.into(),
            identity: Identity {
                format: 1,
                instance: "bench".into(),
                shards: shards.try_into().expect("some"),
                key_id: None,
            },
            checkpoints: Checkpoints::open(&folder.path().join("checkpoints.redb"))
                .expect("a store"),
            dead_letters: Arc::new(letters),
            lane_in_flight: 64_000_000,
        };
        let mut config = Config::new(brokers);
        config.delivery = Delivery::ExactlyOnce;
        let sink = KafkaSink::transactional("bench".into(), config, member).expect("a sink");
        let mut lanes = Vec::new();
        for shard in 0..u32::from(shards) {
            let lane = LaneId::from_stored(format!("bench/{shard}"));
            let taken = runtime.block_on(sink.prepare(&lane, shard));
            taken.expect("the shard is taken");
            lanes.push(sink.open_lane(&lane, shard));
        }
        let with_checkpoint = |batch: &Arc<SinkBatch>| {
            let lane = batch.number % u64::from(shards);
            Arc::new(SinkBatch {
                lane: LaneId::from_stored(format!("bench/{lane}")),
                number: batch.number,
                records: batch.records.clone(),
                dead_letters: Vec::new(),
                checkpoint: Some(Checkpoint {
                    position: Some(Position::encode(&batch.number)),
                    ..Checkpoint::default()
                }),
                landed: headgate::sink::Notes::default(),
            })
        };
        Self {
            sink,
            lanes: Mutex::new(lanes),
            batches: batches.iter().map(with_checkpoint).collect(),
            _data_dir: Some(folder),
        }
    }

    /// All batches, until the last outcome.
    pub(crate) fn round(&self, runtime: &Runtime) -> Measured {
        let events = self
            .batches
            .iter()
            .map(|batch| batch.records.len())
            .sum::<usize>();
        measure(events as u64, || {
            runtime.block_on(async {
                let mut lanes = self.lanes.lock().await;
                let count = lanes.len() as u64;
                let mut outcomes = FuturesUnordered::new();
                for batch in &self.batches {
                    if outcomes.len() == WINDOW {
                        durable(outcomes.next().await);
                    }
                    let lane = &mut lanes[(batch.number % count) as usize];
                    let ready = lane.ready().await.expect("ready");
                    outcomes.push(ready.call(Arc::clone(batch)).await.expect("accepted"));
                }
                while let Some(outcome) = outcomes.next().await {
                    durable(Some(outcome));
                }
            });
        })
    }

    pub(crate) fn close(self, runtime: &Runtime) {
        drop(self.lanes);
        runtime.block_on(sink::Sink::close(&self.sink));
    }
}

fn durable(outcome: Option<Outcome>) {
    assert!(matches!(outcome, Some(Outcome::Durable)), "{outcome:?}");
}

/// Batches of events of about 600 bytes for `topic`, over 64 keys.
pub(crate) fn batches(topic: &str, count: usize) -> Vec<Arc<SinkBatch>> {
    let record = |number: usize| Record {
        envelope: event(number),
        topic: topic.into(),
        key: Some(format!("customer-{}", number % 64).into()),
        headers: Vec::new(),
    };
    let batch = |n: usize| {
        Arc::new(SinkBatch {
            lane: LaneId::from_stored("bench/0"),
            number: n as u64 + 1,
            records: (n * BATCH..(n + 1) * BATCH).map(record).collect(),
            dead_letters: Vec::new(),
            checkpoint: None,
            landed: headgate::sink::Notes::default(),
        })
    };
    (0..count).map(batch).collect()
}

fn event(number: usize) -> Envelope {
    let line =
        |n: usize| format!(r#"{{"sku":"article-{n:04}","count":{n},"price":"{n}.50","tax":0.19}}"#);
    let data = format!(
        r#"{{"id":"2026-{number:06}","total":"1200.50","currency":"EUR","customer":{{"id":{number},"name":"Octo Cat GmbH","city":"Hamburg","country":"DE"}},"lines":[{},{},{}],"note":"to be paid within fourteen days","address":{{"street":"Gasse 1","zip":"20095"}},"paid":false,"reminder":null}}"#,
        line(number % 100),
        line(number % 77),
        line(number % 13)
    );
    let mut event = Envelope::new(
        format!("72d3162e-cc78-11e3-81ab-{number:012x}"),
        "urn:headgate:acme:files:invoices",
        "invoice.paid.v1",
        "2026-01-31T12:00:00Z".parse().expect("an instant"),
        Data::json(data),
    );
    event.tenantid = "acme".into();
    event.partitionkey = Some(format!("customer-{}", number % 64).into());
    event
}
