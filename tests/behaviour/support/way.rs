//! A lane's way into a sink, with all the layers that stand in front of it in the gateway.

use std::{sync::Arc, time::Duration};

use futures::future::BoxFuture;
use headgate::{
    pipeline::{
        LaneContext, LayerStates, PipelineBatch, PipelineService, Step,
        breaker::Breaker,
        dead_letter::DeadLetterWriter,
        share::{Priority, Share},
        stack::{self, PipelinePlan, SinkPlan, StackContext},
    },
    sink::{Accepted, Checkpoint, Outcome, Sink},
};
use headgate_sdk::{Data, DeadLetter, Envelope, LaneId, Position, Replay, Timestamp};
use tokio::sync::{Mutex, Semaphore, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::{Service, ServiceExt};

use super::gateway::DEADLINE;

/// Keeps dead letters in memory.
#[derive(Default)]
pub(crate) struct Letters {
    kept: Mutex<Vec<DeadLetter>>,
    full: watch::Sender<bool>,
}

impl Letters {
    /// What writes to it.
    pub(crate) fn writer(self: &Arc<Self>) -> Arc<dyn DeadLetterWriter> {
        Arc::new(Writer(Arc::clone(self)))
    }

    pub(crate) async fn all(&self) -> Vec<DeadLetter> {
        self.kept.lock().await.clone()
    }

    /// From now on, nothing more is taken, or everything again.
    pub(crate) fn be_full(&self, full: bool) {
        self.full.send_replace(full);
    }
}

struct Writer(Arc<Letters>);

impl DeadLetterWriter for Writer {
    fn write(&self, letters: Vec<DeadLetter>) -> BoxFuture<'static, ()> {
        let kept = Arc::clone(&self.0);
        Box::pin(async move {
            let mut full = kept.full.subscribe();
            let has_room = full.wait_for(|full| !full).await;
            has_room.expect("the sender is in `kept`");
            kept.kept.lock().await.extend(letters);
        })
    }
}

/// One lane into one sink.
pub(crate) struct Way {
    lane: Arc<LaneContext>,
    stack: PipelineService,
    number: u64,
    pub(crate) letters: Arc<Letters>,
}

impl Way {
    /// Routes everything to `topic`, keyed by the partition key.
    pub(crate) fn new(sink: Arc<dyn Sink>, lane: &str, topic: &str) -> Self {
        Self::of_bytes(sink, lane, topic, 1 << 20)
    }

    /// The same, with room for so many bytes in front of the sink.
    pub(crate) fn of_bytes(sink: Arc<dyn Sink>, lane: &str, topic: &str, bytes: usize) -> Self {
        let letters = Arc::new(Letters::default());
        let retry: headgate::pipeline::breaker::Config =
            serde_json::from_str(r#"{"initial": "20ms", "max": "500ms"}"#).unwrap();
        let plan = SinkPlan {
            breaker: Arc::new(Breaker::new(sink.name(), retry, sink.status().clone())),
            sink,
            behind: None,
            timeout: Duration::from_secs(10),
            required: true,
            queue: Arc::new(Semaphore::new(20_000)),
            share: Share::new(bytes),
        };
        let cx = StackContext {
            sinks: vec![plan].into(),
            dead_letters: Arc::new(Writer(Arc::clone(&letters))),
            states: LayerStates::default(),
            tasks: TaskTracker::new(),
            abandon: CancellationToken::new(),
        };
        let lane = Arc::new(LaneContext {
            id: LaneId::from_stored(lane),
            source: "numbers".into(),
            tenant: "default".into(),
            replay: Replay::FromSource,
            shard: 0,
        });
        let steps: Vec<Step> = serde_json::from_value(serde_json::json!([
            { "route": { "topic": topic, "key": "{partitionkey}" } }
        ]))
        .unwrap();
        let stack = PipelinePlan::new("default", &steps)
            .build(stack::deliver(&lane.id, 0, Priority::default(), &cx), &cx);
        Self {
            lane,
            stack,
            number: 0,
            letters,
        }
    }

    /// Sends a batch; the outcome follows.
    pub(crate) async fn send(&mut self, events: Vec<Envelope>) -> Accepted {
        self.send_with(events, Checkpoint::default()).await
    }

    /// Sends a batch after which the source would resume at `position`.
    pub(crate) async fn send_at(
        &mut self,
        events: Vec<Envelope>,
        position: u64,
        unfinished: bool,
    ) -> Accepted {
        let checkpoint = Checkpoint {
            position: Some(Position::encode(&position)),
            entries: Vec::new(),
            unfinished,
        };
        self.send_with(events, checkpoint).await
    }

    async fn send_with(&mut self, events: Vec<Envelope>, checkpoint: Checkpoint) -> Accepted {
        self.number += 1;
        let batch = PipelineBatch {
            lane: Arc::clone(&self.lane),
            number: self.number,
            events,
            rejected: Vec::new(),
            checkpoint,
        };
        self.stack.ready().await.unwrap().call(batch).await.unwrap()
    }

    /// Sends a batch and waits until it is durable.
    pub(crate) async fn deliver(&mut self, events: Vec<Envelope>) {
        let outcome = durable(self.send(events).await).await;
        assert!(matches!(outcome, Outcome::Durable), "{outcome:?}");
    }
}

/// The outcome, within the deadline.
pub(crate) async fn durable(accepted: Accepted) -> Outcome {
    tokio::time::timeout(DEADLINE, accepted)
        .await
        .expect("an outcome within the deadline")
}

/// The numbered event of the tests: its id is the number, its key one of ten.
pub(crate) fn numbered(number: u64) -> Envelope {
    let mut event = Envelope::new(
        number.to_string(),
        "urn:headgate:default:test:numbers",
        "number.drawn.v1",
        Timestamp::from_second(1_700_000_000).unwrap(),
        Data::opaque(format!(r#"{{"number":{number},"text":"Grüße"}}"#)),
    );
    event.partitionkey = Some(format!("key-{}", number % 10).into());
    event
}

/// Asserts that `found` has exactly the numbers of `expected`, for each key in order; what was written twice counts once.
/// Returns how many repeats there were.
pub(crate) fn assert_complete(
    found: &[super::consumer::Found],
    expected: std::ops::Range<u64>,
) -> usize {
    let mut seen = std::collections::HashSet::new();
    let mut last: std::collections::HashMap<String, u64> = std::collections::HashMap::new();
    let mut repeats = 0;
    for record in found {
        let event = record.event();
        let number: u64 = event.id.parse().unwrap();
        assert_eq!(record.key.as_deref(), event.partitionkey.as_deref());
        if !seen.insert(number) {
            repeats += 1;
            continue;
        }
        let key = record.key.clone().unwrap();
        if let Some(before) = last.insert(key.clone(), number) {
            assert!(before < number, "{number} came after {before} of {key}");
        }
    }
    let missing: Vec<u64> = expected
        .clone()
        .filter(|number| !seen.contains(number))
        .collect();
    assert!(
        missing.is_empty(),
        "{} are missing: {missing:?}",
        missing.len()
    );
    assert_eq!(seen.len() as u64, expected.end - expected.start);
    repeats
}
