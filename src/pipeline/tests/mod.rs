//! Whole stacks against scripted sinks.

mod buffer;
mod loops;
mod outage;
mod readiness;
pub(crate) mod scripted;

use std::{sync::Arc, time::Duration};

use headgate_sdk::{Data, Envelope, LaneId, Replay, Timestamp};
use scripted::{Gone, Script, ScriptedSink, Written};
use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::{Service, ServiceExt};

use super::{
    LaneContext, LayerStates, PipelineBatch, PipelineService, Step,
    breaker::{self, Breaker, BreakerState},
    share::{Priority, Share},
    stack::{self, PipelinePlan, SinkPlan, StackContext},
};
use crate::sink::{Accepted, Checkpoint, Outcome, Sink};

pub(crate) fn plan(sink: &Arc<ScriptedSink>, required: bool) -> SinkPlan {
    let retry: breaker::Config =
        serde_json::from_str(r#"{"attempts": 3, "initial": "1ms", "max": "5ms"}"#).unwrap();
    SinkPlan {
        breaker: Arc::new(Breaker::new(sink.name(), retry, sink.status().clone())),
        sink: sink.clone(),
        behind: None,
        timeout: Duration::from_secs(5),
        required,
        queue: Arc::new(Semaphore::new(20_000)),
        share: Share::new(1 << 20),
    }
}

pub(crate) fn context(sinks: Vec<SinkPlan>, dead_letters: Arc<Gone>) -> StackContext {
    StackContext {
        sinks: sinks.into(),
        dead_letters,
        states: LayerStates::default(),
        tasks: TaskTracker::new(),
        abandon: CancellationToken::new(),
    }
}

fn lane(name: &str) -> Arc<LaneContext> {
    Arc::new(LaneContext {
        id: LaneId::from_stored(name),
        source: name.into(),
        tenant: "default".into(),
        replay: Replay::FromSource,
        shard: 0,
    })
}

pub(crate) fn pipeline(yaml_steps: &str) -> PipelinePlan {
    let steps: Vec<Step> = serde_json::from_str(yaml_steps).unwrap();
    PipelinePlan::new("default", &steps)
}

fn batch(lane: &Arc<LaneContext>, number: u64, events: std::ops::Range<u64>) -> PipelineBatch {
    let event = |n: u64| {
        let event_type = if n.is_multiple_of(2) {
            "even.v1"
        } else {
            "odd.v1"
        };
        Envelope::new(
            n.to_string(),
            "urn:test",
            event_type,
            Timestamp::UNIX_EPOCH,
            Data::json("{}"),
        )
    };
    PipelineBatch {
        lane: Arc::clone(lane),
        number,
        events: events.map(event).collect(),
        rejected: Vec::new(),
        checkpoint: Checkpoint::default(),
    }
}

async fn call(stack: &mut PipelineService, batch: PipelineBatch) -> Accepted {
    stack.ready().await.unwrap().call(batch).await.unwrap()
}

fn ids(written: &[Written]) -> Vec<u64> {
    written
        .iter()
        .map(|record| record.id.parse().unwrap())
        .collect()
}

#[tokio::test]
async fn a_retriable_failure_in_the_middle_keeps_order() {
    let sink = ScriptedSink::new(
        "main",
        [
            Script::Write,
            Script::Write,
            Script::Fail,
            Script::Write,
            Script::Fail,
        ],
    );
    let cx = context(vec![plan(&sink, true)], Gone::new());
    let lane = lane("l");
    let mut stack =
        pipeline("[]").build(stack::deliver(&lane.id, 0, Priority::default(), &cx), &cx);
    let mut outcomes = Vec::new();
    for number in 0..20 {
        outcomes.push(
            call(
                &mut stack,
                batch(&lane, number + 1, number * 5..number * 5 + 5),
            )
            .await,
        );
    }
    for outcome in outcomes {
        assert!(matches!(outcome.await, Outcome::Durable));
    }
    // What is written again starts at the first batch that was not durable: without the repeats, the order is the lane's.
    let written = ids(&sink.written());
    let mut first_seen = Vec::new();
    for id in &written {
        if !first_seen.contains(id) {
            first_seen.push(*id);
        }
    }
    assert_eq!(first_seen, (0..100).collect::<Vec<_>>());
    let last_pass: Vec<_> = written[written.len() - 85..].to_vec();
    assert_eq!(last_pass, (15..100).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_failing_sink_is_probed_once_a_second_and_nothing_is_given_up() {
    let sink = ScriptedSink::new("main", std::iter::repeat_n(Script::Fail, 20));
    let plan = plan(&sink, true);
    let breaker = Arc::clone(&plan.breaker);
    let cx = context(vec![plan], Gone::new());
    let lane = lane("l");
    let mut stack =
        pipeline("[]").build(stack::deliver(&lane.id, 0, Priority::default(), &cx), &cx);
    let outcome = call(&mut stack, batch(&lane, 1, 0..3)).await;
    let started = tokio::time::Instant::now();
    let follow = tokio::spawn(outcome);
    while breaker.state() == BreakerState::Closed {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let opened = tokio::time::Instant::now();
    assert!(matches!(follow.await.unwrap(), Outcome::Durable));
    assert_eq!(breaker.state(), BreakerState::Closed);
    assert_eq!(ids(&sink.written()), [0, 1, 2]);
    // Three failures opened it; the other 17 and the success were probes, a second apart.
    assert!(opened - started < Duration::from_secs(1));
    assert!(
        opened.elapsed() >= Duration::from_secs(17),
        "probes came too soon: {:?}",
        opened.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn a_late_outcome_opens_the_breaker_and_is_still_awaited() {
    let sink = ScriptedSink::new("main", [Script::Hold]);
    let plan = plan(&sink, true);
    let breaker = Arc::clone(&plan.breaker);
    let cx = context(vec![plan], Gone::new());
    let lane = lane("l");
    let mut stack =
        pipeline("[]").build(stack::deliver(&lane.id, 0, Priority::default(), &cx), &cx);
    let outcome = tokio::spawn(call(&mut stack, batch(&lane, 1, 0..1)).await);
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert!(matches!(breaker.state(), BreakerState::Open(_)));
    sink.let_go();
    assert!(matches!(outcome.await.unwrap(), Outcome::Durable));
    assert_eq!(breaker.state(), BreakerState::Closed);
    assert_eq!(ids(&sink.written()), [0], "nothing was sent a second time");
}

#[tokio::test]
async fn a_rejected_record_becomes_a_dead_letter_and_the_rest_is_durable() {
    let sink = ScriptedSink::new("main", [Script::Reject(1)]);
    let graveyard = Gone::new();
    let cx = context(vec![plan(&sink, true)], graveyard.clone());
    let lane = lane("l");
    let mut stack =
        pipeline("[]").build(stack::deliver(&lane.id, 0, Priority::default(), &cx), &cx);
    let outcome = call(&mut stack, batch(&lane, 1, 0..3)).await;
    assert!(matches!(outcome.await, Outcome::Durable));
    let letters = graveyard.letters();
    assert_eq!(letters.len(), 1);
    assert_eq!(
        (letters[0].envelope.id.as_str(), letters[0].step.as_str()),
        ("1", "sink/main")
    );
    assert_eq!(ids(&sink.written()), [0, 2]);
}

#[tokio::test]
async fn what_a_sink_can_never_write_is_a_dead_letter_before_it_sees_the_batch() {
    let small = ScriptedSink::limited("small", 1_000, []);
    let large = ScriptedSink::new("large", []);
    let graveyard = Gone::new();
    let cx = context(
        vec![plan(&small, true), plan(&large, true)],
        graveyard.clone(),
    );
    let lane = lane("l");
    let mut stack =
        pipeline("[]").build(stack::deliver(&lane.id, 0, Priority::default(), &cx), &cx);
    let mut batch = batch(&lane, 1, 0..3);
    batch.events[1].data = Data::opaque(vec![b'x'; 1_001]);
    assert!(matches!(
        call(&mut stack, batch).await.await,
        Outcome::Durable
    ));
    let letters = graveyard.letters();
    assert_eq!(letters.len(), 1);
    assert_eq!(
        (
            letters[0].envelope.id.as_str(),
            letters[0].step.as_str(),
            letters[0].reason.as_str()
        ),
        ("1", "sink/small", "too_large")
    );
    assert_eq!(ids(&small.written()), [0, 2]);
    assert_eq!(ids(&large.written()), [0, 1, 2]);
}

#[tokio::test]
async fn an_optional_sink_that_is_dead_holds_nobody_and_what_it_misses_is_kept() {
    let main = ScriptedSink::new("main", []);
    let dead = ScriptedSink::new("dead", std::iter::repeat_n(Script::Hold, 10_000));
    let graveyard = Gone::new();
    let cx = context(
        vec![plan(&main, true), plan(&dead, false)],
        graveyard.clone(),
    );
    let lane = lane("l");
    let mut stack =
        pipeline("[]").build(stack::deliver(&lane.id, 0, Priority::default(), &cx), &cx);
    for number in 0..100 {
        let outcome = call(&mut stack, batch(&lane, number + 1, number..number + 1)).await;
        assert!(matches!(outcome.await, Outcome::Durable));
    }
    assert_eq!(ids(&main.written()).len(), 100);
    graveyard.wait_for(1).await;
    let letters = graveyard.letters();
    assert!(
        letters
            .iter()
            .all(|letter| letter.reason == "sink_unavailable" && letter.step == "sink/dead")
    );
    assert!(
        letters.len() > 50 && letters.len() < 100,
        "its queue took some, and only some: {}",
        letters.len()
    );
}

/// Many batches that are small fill the number of places and not the bytes.
#[tokio::test]
async fn an_optional_sink_that_is_dead_holds_nobody_however_small_the_batches() {
    const BATCHES: u64 = 1_000;
    let main = ScriptedSink::new("main", []);
    let dead = ScriptedSink::new("dead", std::iter::repeat_n(Script::Hold, 10_000));
    let graveyard = Gone::new();
    let roomy = SinkPlan {
        queue: Arc::new(Semaphore::new(64 << 20)),
        ..plan(&dead, false)
    };
    let cx = context(vec![plan(&main, true), roomy], graveyard.clone());
    let lane = lane("l");
    let mut stack =
        pipeline("[]").build(stack::deliver(&lane.id, 0, Priority::default(), &cx), &cx);
    for number in 0..BATCHES {
        let outcome = call(&mut stack, batch(&lane, number + 1, number..number + 1)).await;
        assert!(matches!(outcome.await, Outcome::Durable));
    }
    assert_eq!(main.written().len() as u64, BATCHES);

    // What its queue has when the gateway gives up is not forgotten either.
    cx.abandon.cancel();
    graveyard.wait_for(BATCHES as usize).await;
    let mut dead: Vec<u64> = graveyard
        .letters()
        .iter()
        .map(|letter| {
            assert_eq!(
                (letter.step.as_str(), letter.reason.as_str()),
                ("sink/dead", "sink_unavailable")
            );
            letter.envelope.id.parse().unwrap()
        })
        .collect();
    dead.sort_unstable();
    assert_eq!(dead, (0..BATCHES).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_dead_required_sink_holds_only_the_lanes_routed_to_it() {
    let (alive, dead) = (
        ScriptedSink::new("alive", []),
        ScriptedSink::new("dead", [Script::Hold]),
    );
    let cx = context(vec![plan(&alive, true), plan(&dead, true)], Gone::new());
    let (free, held) = (lane("free"), lane("held"));
    let mut to_alive = pipeline(r#"[{"route": {"sinks": ["alive"]}}]"#)
        .build(stack::deliver(&free.id, 0, Priority::default(), &cx), &cx);
    let mut to_both =
        pipeline("[]").build(stack::deliver(&held.id, 0, Priority::default(), &cx), &cx);
    let waiting = tokio::spawn(call(&mut to_both, batch(&held, 1, 0..1)).await);
    for number in 1..=50 {
        let outcome = call(
            &mut to_alive,
            batch(&free, number, 100 + number..101 + number),
        )
        .await;
        assert!(matches!(outcome.await, Outcome::Durable));
    }
    assert!(
        !waiting.is_finished(),
        "the lane that is routed to the dead sink waits"
    );
    dead.let_go();
    assert!(matches!(waiting.await.unwrap(), Outcome::Durable));
}

#[tokio::test]
async fn filter_drops_and_a_bad_topic_is_a_dead_letter() {
    let sink = ScriptedSink::new("main", []);
    let graveyard = Gone::new();
    let cx = context(vec![plan(&sink, true)], graveyard.clone());
    let lane = lane("l");
    let steps =
        r#"[{"filter": {"equals": {"type": ["even.v1"]}}}, {"route": {"topic": "x.{subject}"}}]"#;
    let mut stack =
        pipeline(steps).build(stack::deliver(&lane.id, 0, Priority::default(), &cx), &cx);
    let mut batch = batch(&lane, 1, 0..4);
    batch.events[0].subject = Some("a/b".into());
    batch.events[2].subject = Some("ab".into());
    assert!(matches!(
        call(&mut stack, batch).await.await,
        Outcome::Durable
    ));
    let written = sink.written();
    assert_eq!(
        written
            .iter()
            .map(|w| (w.id.as_str(), w.topic.as_str()))
            .collect::<Vec<_>>(),
        [("2", "x.ab")]
    );
    let letters = graveyard.letters();
    assert_eq!(letters.len(), 1);
    assert_eq!(
        (letters[0].envelope.id.as_str(), letters[0].reason.as_str()),
        ("0", "invalid_topic")
    );
}

#[tokio::test(start_paused = true)]
async fn pulled_events_wait_for_the_rate_limit_and_pushed_ones_were_charged_at_the_door() {
    let sink = ScriptedSink::new("main", []);
    let cx = context(vec![plan(&sink, true)], Gone::new());
    let plan = pipeline(r#"[{"rate_limit": {"limit": "100/day", "on_limit": "reject"}}]"#);
    let pushed = Arc::new(LaneContext {
        replay: Replay::FromJournal,
        ..(*lane("pushed")).clone()
    });
    let mut stack = plan.build(stack::deliver(&pushed.id, 0, Priority::default(), &cx), &cx);
    for number in 0..3 {
        let outcome = call(
            &mut stack,
            batch(&pushed, number + 1, number * 100..number * 100 + 100),
        )
        .await;
        assert!(matches!(outcome.await, Outcome::Durable));
    }
    let pulled = lane("pulled");
    let mut stack = plan.build(stack::deliver(&pulled.id, 0, Priority::default(), &cx), &cx);
    assert!(matches!(
        call(&mut stack, batch(&pulled, 1, 0..100)).await.await,
        Outcome::Durable
    ));
    let ready = stack.ready().await.unwrap();
    let over = tokio::time::timeout(
        Duration::from_secs(1),
        ready.call(batch(&pulled, 2, 100..200)),
    )
    .await;
    assert!(over.is_err(), "the limit of a day was used up");
}

/// A batch whose events are (id, key) pairs.
fn keyed(lane: &Arc<LaneContext>, number: u64, pairs: &[(&str, u64)]) -> PipelineBatch {
    let events = pairs.iter().map(|(id, key)| {
        let data = Data::json(format!(r#"{{"k":{key}}}"#));
        Envelope::new(*id, "urn:test", "a.v1", Timestamp::UNIX_EPOCH, data)
    });
    PipelineBatch {
        number,
        ..PipelineBatch::new(Arc::clone(lane), events.collect())
    }
}

/// An aborted transaction is a retriable outcome behind `dedup`: the keys are stored, the events are not.
#[tokio::test]
async fn what_was_aborted_behind_dedup_is_delivered_once() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("checkpoints.redb");
    let lane = lane("l");
    let steps = r#"[{"dedup": {"key": ".k", "window": "1h"}}]"#;
    let life = async |script: Vec<Script>, batches: Vec<PipelineBatch>, waits: bool| {
        let sink = ScriptedSink::new("main", script);
        let mut cx = context(vec![plan(&sink, true)], Gone::new());
        let store = crate::runtime::Checkpoints::open(&file).unwrap();
        cx.states = LayerStates::stored_in(store.clone());
        let mut stack =
            pipeline(steps).build(stack::deliver(&lane.id, 0, Priority::default(), &cx), &cx);
        let mut outcomes = Vec::new();
        for batch in batches {
            outcomes.push(call(&mut stack, batch).await);
        }
        if waits {
            for outcome in outcomes {
                assert!(matches!(outcome.await, Outcome::Durable));
            }
        }
        // The end of a life that was killed: what is under way is gone.
        cx.abandon.cancel();
        drop(stack);
        drop(cx);
        store.close().await;
        let mut written = ids(&sink.written());
        written.sort_unstable();
        written
    };
    let first = || keyed(&lane, 1, &[("1", 1), ("2", 2), ("3", 1)]);
    // Killed while every transaction is aborted.
    let aborted = std::iter::repeat_n(Script::Fail, 10_000).collect();
    assert_eq!(life(aborted, vec![first()], false).await, [0_u64; 0]);
    // The next life reads the same again, is aborted twice, and commits; another event with a key of the first comes as well.
    let again = vec![first(), keyed(&lane, 2, &[("4", 2), ("5", 5)])];
    let script = vec![Script::Fail, Script::Fail];
    assert_eq!(life(script, again, true).await, [1, 2, 5]);
    let late = vec![keyed(&lane, 3, &[("6", 5), ("7", 1)])];
    assert_eq!(life(Vec::new(), late, true).await, [0_u64; 0]);
}
