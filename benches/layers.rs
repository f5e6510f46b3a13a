//! What layers cost that change nothing: a stack of six filters that pass everything, beside the same stack without them.
//!
//! `cargo bench --bench layers`. The bound is an absolute one: at most 0.5 µs an event for all six, at batches of 256.

mod harness;

use std::sync::Arc;

use harness::{Bound, Measured, compare, measure};
use headgate::{
    pipeline::{
        LaneContext, LayerStates, PipelineBatch, Step,
        dead_letter::DeadLetterWriter,
        share::Priority,
        stack::{self, PipelinePlan, StackContext},
    },
    sink::Checkpoint,
};
use headgate_sdk::{Data, DeadLetter, Envelope, LaneId, Replay, Timestamp};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::{Service, ServiceExt};

const BATCH: usize = 256;
const BATCHES: u64 = 2_000;

/// Nothing fails here.
struct NoDeadLetters;

impl DeadLetterWriter for NoDeadLetters {
    fn write(&self, _: Vec<DeadLetter>) -> futures::future::BoxFuture<'static, ()> {
        Box::pin(async {})
    }
}

fn main() {
    let lane = Arc::new(LaneContext {
        id: LaneId::from_stored("bench/"),
        source: "bench".into(),
        tenant: "default".into(),
        replay: Replay::FromSource,
        shard: 0,
    });
    let data = format!(r#"{{"padding":"{}"}}"#, "x".repeat(580));
    let event = Envelope::new(
        "1",
        "urn:bench",
        "bench.v1",
        Timestamp::UNIX_EPOCH,
        Data::json(data),
    );
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    // No sinks: what a pipeline costs ends where its sinks begin.
    let cx = StackContext {
        sinks: Arc::new([]),
        dead_letters: Arc::new(NoDeadLetters),
        states: LayerStates::default(),
        tasks: TaskTracker::new(),
        abandon: CancellationToken::new(),
    };
    let round = |layers: usize| -> Measured {
        let steps: Vec<Step> = vec![pass_all(); layers];
        let deliver = stack::deliver(&lane.id, lane.shard, Priority::default(), &cx);
        let mut stack = PipelinePlan::new("bench", &steps).build(deliver, &cx);
        measure(BATCHES * BATCH as u64, || {
            runtime.block_on(async {
                for number in 0..BATCHES {
                    let batch = PipelineBatch {
                        lane: Arc::clone(&lane),
                        number,
                        events: vec![event.clone(); BATCH],
                        rejected: Vec::new(),
                        checkpoint: Checkpoint::default(),
                    };
                    let ready = stack.ready().await.expect("it is open");
                    ready.call(batch).await.expect("it takes everything").await;
                }
            });
        })
    };
    compare(
        "Six layers that pass everything, batches of 256, 600-byte events (the difference is theirs)",
        vec![
            (("no layers", Box::new(|| round(0))), Bound::None),
            (
                ("six layers", Box::new(|| round(6))),
                Bound::AtMostOver(0.5),
            ),
        ],
    );
}

/// A filter that every event passes.
fn pass_all() -> Step {
    serde_json::from_str(r#"{"filter": {"equals": {"type": ["bench.v1"]}}}"#).expect("a filter")
}
