//! Lanes that are opened a second time: after they drained, while they do, and after they broke off.

use std::{path::Path, sync::Arc, time::Duration};

use headgate_sdk::{Lane, Position, Replay, Str};
use tokio::sync::watch;

use super::{Rig, accept, events, written};
use crate::pipeline::tests::{
    pipeline,
    scripted::{Script, ScriptedSink},
};

#[tokio::test]
async fn a_lane_opens_again_only_after_it_has_drained() {
    let folder = tempfile::tempdir().unwrap();
    let sink = ScriptedSink::new("main", []);
    let rig = Rig::start(folder.path(), &sink).await;
    let lane = rig.open("l", Replay::FromSource).await;
    sink.stall(lane.id().as_str());
    accept(&lane, events(0..1)).await;
    drop(lane);
    let again = tokio::time::timeout(
        Duration::from_millis(200),
        rig.open("l", Replay::FromSource),
    )
    .await;
    assert!(
        again.is_err(),
        "it opened although its first batch has no outcome"
    );
    sink.let_go();
    let lane = rig.open("l", Replay::FromSource).await;
    assert_eq!(lane.restored().unwrap().decode::<u64>().unwrap(), 1);
    rig.crash().await;
}

/// The same stores and lanes, for another run of the source.
fn another_run(rig: Rig, steps: &str) -> Rig {
    Rig {
        plan: watch::Sender::new(Arc::new(pipeline(steps))),
        broken: watch::Sender::new(Str::default()),
        ..rig
    }
}

async fn opens_at_once(rig: &Rig) -> Lane {
    let open = rig.open("l", Replay::FromJournal);
    tokio::time::timeout(Duration::from_secs(60), open)
        .await
        .expect("what drains is not waited for")
}

/// A source is started again, with another pipeline, while its sink is away: whoever sends to it is let in all the same.
#[tokio::test]
async fn a_lane_of_the_journal_opens_again_while_it_still_drains() {
    let folder = tempfile::tempdir().unwrap();
    let sink = ScriptedSink::new("main", [Script::Hold]);
    let rig = Rig::start(folder.path(), &sink).await;
    let lane = rig.open("l", Replay::FromJournal).await;
    accept(&lane, events(0..1)).await;
    sink.wait_for_calls(1).await;
    drop(lane);
    let rig = another_run(rig, r#"[{"filter": {"equals": {"id": ["2", "4"]}}}]"#);
    for number in 1..4 {
        let lane = opens_at_once(&rig).await;
        accept(&lane, events(number..number + 1)).await;
    }
    let lane = opens_at_once(&rig).await;
    let last = accept(&lane, events(4..5)).await;
    assert_eq!(lane.progress().now().durable, 0);
    sink.let_go();
    lane.progress().reached(last).await.unwrap();
    assert_eq!(written(&sink), [0, 2, 4]);
    // Drained, it ends, and the next one goes on behind it.
    drop(lane);
    let lane = opens_at_once(&rig).await;
    let last = accept(&lane, events(2..3)).await;
    lane.progress().reached(last).await.unwrap();
    assert_eq!(written(&sink), [0, 2, 4, 2]);
    rig.crash().await;
}

#[tokio::test]
async fn a_lane_that_was_taken_over_tells_its_new_run_that_it_broke_off() {
    let folder = tempfile::tempdir().unwrap();
    let sink = ScriptedSink::new("main", [Script::Hold, Script::Panic]);
    let rig = Rig::start(folder.path(), &sink).await;
    let lane = rig.open("l", Replay::FromJournal).await;
    accept(&lane, events(0..1)).await;
    sink.wait_for_calls(1).await;
    drop(lane);
    let rig = another_run(rig, "[]");
    let mut broken = rig.broken.subscribe();
    let lane = opens_at_once(&rig).await;
    accept(&lane, events(1..2)).await;
    tokio::time::timeout(Duration::from_secs(60), broken.changed())
        .await
        .expect("the source is told")
        .unwrap();
    drop(lane);
    // Nobody knows what became of the first.
    let lane = opens_at_once(&rig).await;
    let last = accept(&lane, events(2..3)).await;
    lane.progress().reached(last).await.unwrap();
    assert_eq!(written(&sink), [0, 0, 1, 2]);
    rig.crash().await;
}

/// As a topic of Kafka has it that another gateway, with a copy of `data_dir`, went on with.
#[tokio::test]
async fn a_checkpoint_of_another_journal_is_told_and_nothing_is_passed_over() {
    // Their journal is longer than ours, and shorter.
    for (ours, why) in [
        (1..3, "does not come so far"),
        (1..9, "has another record there"),
    ] {
        let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let sink = ScriptedSink::new("main", []);
        let deliver = async |folder: &Path, numbers: std::ops::Range<u64>| {
            let rig = Rig::start(folder, &sink).await;
            let lane = rig.open("l", Replay::FromJournal).await;
            for number in numbers {
                let sequence = accept(&lane, events(number..number + 1)).await;
                lane.progress().reached(sequence).await.unwrap();
            }
            drop(lane);
            rig.crash().await;
        };
        deliver(here.path(), 0..1).await;
        let copied = std::process::Command::new("cp")
            .arg("-a")
            .arg(here.path().join("."))
            .arg(there.path())
            .status();
        assert!(copied.unwrap().success());
        deliver(there.path(), 10..14).await;

        let stalled = ScriptedSink::new("main", []);
        let rig = Rig::start(here.path(), &stalled).await;
        let lane = rig.open("l", Replay::FromJournal).await;
        let id = lane.id().clone();
        stalled.stall(id.as_str());
        for number in ours.clone() {
            accept(&lane, events(number..number + 1)).await;
        }
        drop(lane);
        let file = rig._data_dir.checkpoints();
        let name = file.file_name().unwrap().to_owned();
        rig.crash().await;
        std::fs::copy(there.path().join(name), file).unwrap();

        let sink = ScriptedSink::new("main", []);
        let rig = Rig::start(here.path(), &sink).await;
        let mut broken = rig.broken.subscribe();
        let lane = rig.open("l", Replay::FromJournal).await;
        let told = tokio::time::timeout(Duration::from_secs(60), broken.changed());
        told.await.expect("the source is told").unwrap();
        let reason = broken.borrow_and_update().clone();
        for said in ["of another journal", why, "headgate checkpoints set s/"] {
            assert!(reason.contains(said), "{reason}");
        }
        drop(lane);
        assert_eq!(written(&sink), [0; 0]);
        // What it says mends it.
        let checkpoints = rig.checkpoints.clone();
        let moved = move || checkpoints.move_lane(&id, &Position::encode(&0));
        tokio::task::spawn_blocking(moved).await.unwrap().unwrap();
        let lane = rig.open("l", Replay::FromJournal).await;
        let last = accept(&lane, events(20..21)).await;
        lane.progress().reached(last).await.unwrap();
        let expected: Vec<u64> = std::iter::once(0).chain(ours).chain([20]).collect();
        assert_eq!(written(&sink), expected);
        rig.crash().await;
    }
}

#[tokio::test]
async fn a_lane_that_breaks_off_says_so_and_goes_on_from_the_checkpoint() {
    for replay in [Replay::FromSource, Replay::FromJournal] {
        let folder = tempfile::tempdir().unwrap();
        let sink = ScriptedSink::new("main", [Script::Write, Script::Panic]);
        let rig = Rig::start(folder.path(), &sink).await;
        let mut broken = rig.broken.subscribe();
        let lane = rig.open("l", replay).await;
        let first = accept(&lane, events(0..3)).await;
        lane.progress().reached(first).await.unwrap();
        assert!(!broken.has_changed().unwrap());
        accept(&lane, events(3..5)).await;
        tokio::time::timeout(Duration::from_secs(120), broken.changed())
            .await
            .expect("the source is told")
            .unwrap();
        drop(lane);

        let lane = rig.open("l", replay).await;
        let last = match replay {
            Replay::FromSource => {
                let restored = lane.restored().unwrap().decode::<u64>().unwrap();
                assert_eq!(restored, 3);
                accept(&lane, events(restored..5)).await;
                accept(&lane, events(5..6)).await
            }
            _ => accept(&lane, events(5..6)).await,
        };
        lane.progress().reached(last).await.unwrap();
        assert_eq!(written(&sink), (0..6).collect::<Vec<_>>(), "{replay:?}");
        rig.crash().await;
    }
}
