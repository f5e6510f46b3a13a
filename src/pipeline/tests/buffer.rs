//! A sink behind a buffer, beside one that is not.

use std::{path::Path, sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use super::{
    batch, call, context, ids, lane, pipeline, plan,
    scripted::{Gone, ScriptedSink},
};
use crate::{
    pipeline::{
        PipelineService,
        share::Priority,
        stack::{self, StackContext},
    },
    runtime::Checkpoints,
    segment::RealFiles,
    sink::{
        Outcome,
        buffer::{Buffered, Pump, lane_of},
        log::{self, EmbeddedLog},
    },
};

/// The stores of a gateway with the sink `slow` behind a buffer and the sink `main` beside it.
struct Rig {
    cx: StackContext,
    buffer: Arc<EmbeddedLog>,
    checkpoints: Checkpoints,
    stop: CancellationToken,
}

impl Rig {
    async fn start(folder: &Path, main: &Arc<ScriptedSink>, slow: &Arc<ScriptedSink>) -> Self {
        let checkpoints = Checkpoints::open(&folder.join("checkpoints.redb")).unwrap();
        let (buffer, _) =
            EmbeddedLog::open(&folder.join("buffer"), log::Config::default(), RealFiles).unwrap();
        let behind = plan(slow, true);
        let mut in_front = plan(slow, true);
        in_front.sink = Arc::new(Buffered::new(slow.clone(), Arc::clone(&buffer)));
        in_front.sink.recover(&checkpoints).await.unwrap();
        let cx = context(vec![plan(main, true), in_front], Gone::new());
        let pumped = lane_of("slow");
        let way = stack::outlet(&behind, &pumped, 0, Priority::default(), &cx).service;
        let pump = Pump::new("slow", &buffer, way, checkpoints.clone()).unwrap();
        let stop = CancellationToken::new();
        cx.tasks.spawn(pump.run(stop.clone()));
        Self {
            cx,
            buffer,
            checkpoints,
            stop,
        }
    }

    fn stack(&self, name: &str) -> PipelineService {
        let id = lane(name).id.clone();
        pipeline("[]").build(
            stack::deliver(&id, 0, Priority::default(), &self.cx),
            &self.cx,
        )
    }

    /// Ends everything without waiting for sinks.
    async fn crash(self) {
        self.stop.cancel();
        self.cx.abandon.cancel();
        self.cx.tasks.close();
        self.cx.tasks.wait().await;
        self.buffer.close();
        self.checkpoints.close().await;
    }
}

async fn within<T>(what: &str, wait: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(120), wait)
        .await
        .unwrap_or_else(|_| panic!("{what}"))
}

#[tokio::test]
async fn a_dead_sink_behind_a_buffer_holds_nobody_and_gets_everything_in_order_also_after_a_restart()
 {
    let folder = tempfile::tempdir().unwrap();
    let main = ScriptedSink::new("main", []);
    let dead = ScriptedSink::new("slow", []);
    dead.stall(lane_of("slow").as_str());
    let rig = Rig::start(folder.path(), &main, &dead).await;
    let lanes = [lane("a"), lane("b")];
    let mut stacks = [rig.stack("a"), rig.stack("b")];
    let mut next = 0;
    for number in 1..=25 {
        for (lane, stack) in lanes.iter().zip(&mut stacks) {
            let outcome = call(stack, batch(lane, number, next..next + 2)).await;
            let outcome = within("the lane is held by the dead sink", outcome).await;
            assert!(matches!(outcome, Outcome::Durable), "{outcome:?}");
            next += 2;
        }
    }
    assert_eq!(ids(&main.written()), (0..100).collect::<Vec<_>>());
    dead.wait_for_calls(1).await;
    assert!(dead.written().is_empty());
    drop(stacks);
    rig.crash().await;

    // It comes back, and takes some; then the gateway dies again.
    let back = ScriptedSink::new("slow", []);
    let rig = Rig::start(folder.path(), &main, &back).await;
    within("it gets what waited", back.wait_for(100)).await;
    assert_eq!(ids(&back.written()), (0..100).collect::<Vec<_>>());
    let mut stack = rig.stack("a");
    let outcome = call(&mut stack, batch(&lanes[0], 26, 100..103)).await;
    assert!(matches!(outcome.await, Outcome::Durable));
    within("it keeps up", back.wait_for(103)).await;
    let stored = || rig.checkpoints.restored(&lane_of("slow")).unwrap();
    let reached = async {
        while stored().and_then(|stored| stored.position?.decode::<u64>().ok()) < Some(103) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    within("its position is stored", reached).await;
    drop(stack);
    rig.crash().await;

    // What it has, it is not given again.
    let again = ScriptedSink::new("slow", []);
    let rig = Rig::start(folder.path(), &main, &again).await;
    let mut stack = rig.stack("a");
    let outcome = call(&mut stack, batch(&lanes[0], 27, 103..104)).await;
    assert!(matches!(outcome.await, Outcome::Durable));
    within("it gets what is new", again.wait_for(1)).await;
    assert_eq!(ids(&again.written()), [103]);
    drop(stack);
    rig.crash().await;
}
