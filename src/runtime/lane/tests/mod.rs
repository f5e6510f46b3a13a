//! Lanes over a real journal and checkpoint file, with scripted sinks.

mod opened_again;

use std::{path::Path, sync::Arc, time::Duration};

use headgate_sdk::{
    Batch, Data, Entry, Envelope, Lane, LaneSpec, Lanes, Position, Replay, Str, Timestamp,
};
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::LaneFactory;
use crate::{
    journal::{self, Journal},
    pipeline::tests::{
        context, pipeline, plan,
        scripted::{Gone, Script, ScriptedSink},
    },
    runtime::{Checkpoints, Commit, DataDir},
    segment::RealFiles,
    sink::Checkpoint,
};

/// A gateway's stores and lanes, without sources.
struct Rig {
    factory: LaneFactory,
    checkpoints: Checkpoints,
    journal: Journal,
    plan: watch::Sender<Arc<crate::pipeline::stack::PipelinePlan>>,
    paused: watch::Sender<bool>,
    broken: watch::Sender<Str>,
    tasks: TaskTracker,
    stop: CancellationToken,
    abandon: CancellationToken,
    _data_dir: DataDir,
}

impl Rig {
    async fn start(folder: &Path, sink: &Arc<ScriptedSink>) -> Self {
        Self::start_with(folder, sink, 4 << 20).await
    }

    /// With lanes of at most `capacity` bytes.
    async fn start_with(folder: &Path, sink: &Arc<ScriptedSink>, capacity: usize) -> Self {
        let data_dir = DataDir::open(folder, None).unwrap();
        let checkpoints = Checkpoints::open(&data_dir.checkpoints()).unwrap();
        let (journal, _) =
            Journal::open(&data_dir.journal(), journal::Config::default(), RealFiles).unwrap();
        let stack = context(vec![plan(sink, true)], Gone::new());
        let (tasks, stop, abandon) = (
            stack.tasks.clone(),
            CancellationToken::new(),
            stack.abandon.clone(),
        );
        let identity = data_dir.identity().clone();
        let factory = LaneFactory::new(
            identity,
            checkpoints.clone(),
            journal.clone(),
            stack,
            capacity,
            tasks.clone(),
            stop.clone(),
            abandon.clone(),
        )
        .unwrap();
        factory.follow_journal().await.unwrap();
        let plan = watch::Sender::new(Arc::new(pipeline("[]")));
        let paused = watch::Sender::new(false);
        let broken = watch::Sender::new(Str::default());
        Self {
            factory,
            checkpoints,
            journal,
            plan,
            paused,
            broken,
            tasks,
            stop,
            abandon,
            _data_dir: data_dir,
        }
    }

    fn lanes(&self) -> Lanes {
        self.factory.for_source(
            "s".into(),
            self.plan.subscribe(),
            self.paused.subscribe(),
            self.stop.child_token(),
            self.broken.clone(),
        )
    }

    async fn open(&self, name: &'static str, replay: Replay) -> Lane {
        let spec = LaneSpec {
            name: name.into(),
            tenant: "default".into(),
            class: "default".into(),
            replay,
        };
        self.lanes().open(spec).await.unwrap()
    }

    /// Ends everything without waiting for sinks.
    async fn crash(self) {
        self.stop.cancel();
        self.abandon.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        self.journal.close();
        self.checkpoints.close().await;
    }
}

fn events(numbers: std::ops::Range<u64>) -> Batch {
    let event = |n: u64| {
        Envelope::new(
            n.to_string(),
            "urn:s",
            "a.v1",
            Timestamp::UNIX_EPOCH,
            Data::json("{}"),
        )
    };
    Batch {
        events: numbers.clone().map(event).collect(),
        position: Some(Position::encode(&numbers.end)),
        ..Batch::default()
    }
}

async fn accept(lane: &Lane, batch: Batch) -> u64 {
    let permit = lane.reserve(batch.weight()).await.unwrap();
    permit.send(batch).accepted().await.unwrap()
}

fn written(sink: &ScriptedSink) -> Vec<u64> {
    sink.written()
        .iter()
        .map(|record| record.id.parse().unwrap())
        .collect()
}

#[tokio::test]
async fn progress_comes_after_the_stored_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let sink = ScriptedSink::new("main", []);
    let rig = Rig::start(folder.path(), &sink).await;
    let lane = rig.open("l", Replay::FromSource).await;
    let mut progress = lane.progress();
    for n in 0..10 {
        accept(&lane, events(n * 3..n * 3 + 3)).await;
    }
    progress.reached(10).await.unwrap();
    let stored = rig.checkpoints.restored(lane.id()).unwrap().unwrap();
    assert_eq!(stored.position.unwrap().decode::<u64>().unwrap(), 30);
    assert_eq!(written(&sink), (0..30).collect::<Vec<_>>());
    drop(lane);
    rig.crash().await;

    let rig = Rig::start(folder.path(), &sink).await;
    let lane = rig.open("l", Replay::FromSource).await;
    assert_eq!(lane.restored().unwrap().decode::<u64>().unwrap(), 30);
    rig.crash().await;
}

#[tokio::test]
async fn what_a_journal_accepted_is_delivered_after_a_crash_and_once() {
    let folder = tempfile::tempdir().unwrap();
    let stalled = ScriptedSink::new("main", []);
    let rig = Rig::start(folder.path(), &stalled).await;
    let lane = rig.open("l", Replay::FromJournal).await;
    stalled.stall(lane.id().as_str());
    for n in 0..10 {
        accept(&lane, events(n..n + 1)).await;
    }
    rig.crash().await;
    assert!(written(&stalled).is_empty());

    let sink = ScriptedSink::new("main", []);
    let rig = Rig::start(folder.path(), &sink).await;
    let lane = rig.open("l", Replay::FromJournal).await;
    let last = accept(&lane, events(10..11)).await;
    lane.progress().reached(last).await.unwrap();
    assert_eq!(written(&sink), (0..11).collect::<Vec<_>>());
    rig.crash().await;

    let nothing_left = ScriptedSink::new("main", []);
    let rig = Rig::start(folder.path(), &nothing_left).await;
    let lane = rig.open("l", Replay::FromJournal).await;
    let last = accept(&lane, events(11..12)).await;
    lane.progress().reached(last).await.unwrap();
    assert_eq!(written(&nothing_left), [11]);
    rig.crash().await;
}

#[tokio::test]
async fn a_stalled_lane_holds_no_other_also_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    for round in 0..2 {
        let sink = ScriptedSink::new("main", []);
        let rig = Rig::start(folder.path(), &sink).await;
        let stalled = rig.open("stalled", Replay::FromJournal).await;
        sink.stall(stalled.id().as_str());
        let free = rig.open("free", Replay::FromJournal).await;
        for n in 0..20 {
            accept(&stalled, events(1000 + n..1001 + n)).await;
            let last = accept(&free, events(round * 20 + n..round * 20 + n + 1)).await;
            free.progress().reached(last).await.unwrap();
        }
        assert_eq!(
            written(&sink),
            (round * 20..round * 20 + 20).collect::<Vec<_>>()
        );
        assert_eq!(stalled.progress().now().durable, 0);
        rig.crash().await;
    }
    let sink = ScriptedSink::new("main", []);
    let rig = Rig::start(folder.path(), &sink).await;
    let _stalled = rig.open("stalled", Replay::FromJournal).await;
    sink.wait_for(40).await;
    assert_eq!(
        written(&sink),
        (1000..1020).chain(1000..1020).collect::<Vec<_>>()
    );
    rig.crash().await;
}

#[tokio::test]
async fn entries_of_a_journaled_batch_are_there_after_a_crash() {
    let folder = tempfile::tempdir().unwrap();
    let sink = ScriptedSink::new("main", []);
    let rig = Rig::start(folder.path(), &sink).await;
    let lane = rig.open("l", Replay::FromJournal).await;
    sink.stall(lane.id().as_str());
    for n in 0..5 {
        let entries = vec![Entry::put(format!("dedup/{n}"), n.to_string())];
        accept(
            &lane,
            Batch {
                entries,
                ..events(n..n + 1)
            },
        )
        .await;
    }
    accept(
        &lane,
        Batch {
            entries: vec![Entry::remove("dedup/0")],
            ..Batch::default()
        },
    )
    .await;
    rig.crash().await;

    let rig = Rig::start(folder.path(), &sink).await;
    let lane = rig.open("l", Replay::FromJournal).await;
    let found = lane.entries("dedup/", None, 10).await.unwrap();
    let keys: Vec<_> = found.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(keys, ["dedup/1", "dedup/2", "dedup/3", "dedup/4"]);
    assert_eq!(lane.entry("dedup/3").await.unwrap().unwrap(), "3");
    rig.crash().await;
}

#[tokio::test]
async fn a_stop_delivers_what_the_journal_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let sink = ScriptedSink::new("main", []);
    let rig = Rig::start_with(folder.path(), &sink, 8 << 10).await;
    let lane = rig.open("l", Replay::FromJournal).await;
    sink.stall(lane.id().as_str());
    // The lane has room for one of them; the others are in the journal only.
    for n in 0..5 {
        accept(&lane, large(n, 6 << 10)).await;
        sink.wait_for_calls(1).await;
    }
    let mut progress = lane.progress();
    rig.stop.cancel();
    drop(lane);
    let letting_go = async {
        loop {
            sink.let_go();
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let delivered = async {
        tokio::select! {
            reached = progress.reached(5) => reached.unwrap(),
            () = letting_go => {}
        }
    };
    tokio::time::timeout(Duration::from_secs(120), delivered)
        .await
        .expect("what waits in the journal is delivered");
    rig.crash().await;
}

#[tokio::test]
async fn a_paused_lane_lets_nothing_in_until_it_is_resumed() {
    let folder = tempfile::tempdir().unwrap();
    let sink = ScriptedSink::new("main", []);
    let rig = Rig::start(folder.path(), &sink).await;
    let lane = rig.open("l", Replay::FromSource).await;
    rig.paused.send_replace(true);
    assert!(lane.is_paused());
    assert!(
        tokio::time::timeout(Duration::from_millis(50), lane.reserve(1))
            .await
            .is_err()
    );
    rig.paused.send_replace(false);
    accept(&lane, events(0..1)).await;
    sink.wait_for(1).await;
    rig.crash().await;
}

#[tokio::test]
async fn a_pipeline_is_swapped_between_batches() {
    let folder = tempfile::tempdir().unwrap();
    let sink = ScriptedSink::new("main", []);
    let rig = Rig::start(folder.path(), &sink).await;
    let lane = rig.open("l", Replay::FromSource).await;
    accept(&lane, events(0..2)).await;
    lane.progress().reached(1).await.unwrap();
    rig.plan.send_replace(Arc::new(pipeline(
        r#"[{"filter": {"equals": {"id": ["3"]}}}]"#,
    )));
    accept(&lane, events(2..4)).await;
    lane.progress().reached(2).await.unwrap();
    assert_eq!(written(&sink), [0, 1, 3]);
    rig.crash().await;
}

/// A batch of one event, `n`, of about so many bytes.
fn large(n: u64, bytes: usize) -> Batch {
    let mut batch = events(n..n + 1);
    batch.events[0].data = Data::json(format!("\"{}\"", "x".repeat(bytes)));
    batch
}

#[tokio::test]
async fn a_batch_that_needs_all_the_room_gets_it_and_overtakes_nothing() {
    for replay in [Replay::FromSource, Replay::FromJournal] {
        let folder = tempfile::tempdir().unwrap();
        let sink = ScriptedSink::new("main", []);
        let rig = Rig::start_with(folder.path(), &sink, 8 << 10).await;
        let lane = rig.open("l", replay).await;
        sink.stall(lane.id().as_str());
        accept(&lane, large(0, 10)).await;
        sink.wait_for_calls(1).await;
        // Larger than the lane; what follows waits behind it.
        let sending = tokio::spawn({
            let lane = lane.clone();
            async move {
                accept(&lane, large(1, 20 << 10)).await;
                accept(&lane, large(2, 10)).await
            }
        });
        if replay == Replay::FromJournal {
            // The journal has it, and the lane's memory has no room for it.
            while rig.journal.scan(2).next(1 << 20).await.unwrap().len() < 2 {
                tokio::task::yield_now().await;
            }
        }
        assert_eq!(sink.calls().len(), 1);
        let all_durable = async {
            let last = sending.await.unwrap();
            lane.progress().reached(last).await.unwrap();
        };
        let letting_go = async {
            for taken in 1.. {
                sink.wait_for_calls(taken).await;
                sink.let_go_of_one();
            }
        };
        tokio::select! {
            () = all_durable => {}
            () = letting_go => {}
        }
        let numbers: Vec<_> = sink.calls().iter().map(|call| call.number).collect();
        // What the journal holds may come together, as far as a batch goes.
        let expected: &[u64] = match (replay, numbers.len()) {
            (Replay::FromJournal, 2) => &[1, 3],
            _ => &[1, 2, 3],
        };
        assert_eq!(numbers, expected, "{replay:?}");
        rig.crash().await;
    }
}

#[tokio::test]
async fn a_lane_that_waits_for_room_gives_back_what_is_durable() {
    let folder = tempfile::tempdir().unwrap();
    let sink = ScriptedSink::new("main", []);
    let rig = Rig::start_with(folder.path(), &sink, 8 << 10).await;
    let lane = rig.open("l", Replay::FromJournal).await;
    sink.stall(lane.id().as_str());
    for n in 0..2 {
        accept(&lane, large(n, 3 << 10)).await;
        sink.wait_for_calls(n as usize + 1).await;
    }
    accept(&lane, large(2, 6 << 10)).await;
    sink.let_go_of_one();
    let pending = || rig.journal.lanes()[0].pending_from;
    let released = async {
        while pending() != Some(2) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(120), released)
        .await
        .expect("the journal may recycle what is durable");
    assert_eq!(sink.calls().len(), 2);
    rig.crash().await;
}

#[tokio::test]
async fn an_entry_that_a_sink_keeps_is_read_as_soon_as_it_is_durable() {
    let folder = tempfile::tempdir().unwrap();
    let sink = ScriptedSink::new("main", []);
    let rig = Rig::start(folder.path(), &sink).await;
    let lane = rig.open("l", Replay::FromSource).await;
    for n in 0..20 {
        // As the embedded log hands its checkpoints over: nobody waits for them to be written.
        rig.checkpoints
            .commit(Commit {
                lane: lane.id().clone(),
                checkpoint: Checkpoint {
                    entries: vec![Entry::put(format!("f/{n}"), "x")],
                    ..Checkpoint::default()
                },
                mark: None,
                done: None,
            })
            .await;
        let entry = lane.entry(&format!("f/{n}")).await.unwrap();
        assert_eq!(entry.as_deref(), Some(&b"x"[..]), "{n}");
        assert_eq!(lane.entries("f/", None, 100).await.unwrap().len(), n + 1);
    }
    rig.crash().await;
}

/// Also by the source's next run, after the lane's task broke off and nobody drained it.
#[tokio::test]
async fn an_entry_in_the_journal_is_read_as_soon_as_its_batch_is_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let sink = ScriptedSink::new("main", [Script::Panic]);
    let rig = Rig::start(folder.path(), &sink).await;
    let mut broken = rig.broken.subscribe();
    let mut lane = rig.open("l", Replay::FromJournal).await;
    for n in 0..20 {
        accept(
            &lane,
            Batch {
                entries: vec![Entry::put(format!("dedup/{n}"), "x")],
                ..events(n..n + 1)
            },
        )
        .await;
        if n == 0 {
            let told = tokio::time::timeout(Duration::from_secs(60), broken.changed());
            told.await.expect("the source is told").unwrap();
            drop(lane);
            lane = rig.open("l", Replay::FromJournal).await;
        }
        let entry = lane.entry(&format!("dedup/{n}")).await.unwrap();
        assert_eq!(entry.as_deref(), Some(&b"x"[..]), "{n}");
        let all = lane.entries("dedup/", None, 100).await.unwrap();
        assert_eq!(all.len() as u64, n + 1);
    }
    rig.crash().await;
}
