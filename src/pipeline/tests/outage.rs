//! What a sink gets while it is away, and when it comes back.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use futures::future::join_all;
use headgate_sdk::{LaneId, status::State};

use super::{
    batch, call, context, ids, lane, pipeline, plan,
    scripted::{Call, Gone, ScriptedSink},
};
use crate::pipeline::{
    breaker::{Breaker, BreakerState, Config, Jitter},
    share::Priority,
    stack,
};
use crate::sink::{Accepted, Outcome, Sink};

/// (sent for the first time, sent again)
fn attempts(calls: &[Call]) -> (usize, usize) {
    let first: HashSet<(&LaneId, u64)> =
        calls.iter().map(|call| (&call.lane, call.number)).collect();
    (first.len(), calls.len() - first.len())
}

/// Gives `lanes` lanes `batches` batches of one event each; every lane has numbers of its own.
async fn send(
    sink: &Arc<ScriptedSink>,
    breaker_config: &Config,
    lanes: u64,
    batches: u64,
) -> (Arc<Breaker>, Vec<Accepted>) {
    let mut plan = plan(sink, true);
    plan.breaker = Arc::new(Breaker::new(
        sink.name(),
        breaker_config.clone(),
        sink.status().clone(),
    ));
    plan.timeout = Duration::from_secs(3_600);
    let breaker = Arc::clone(&plan.breaker);
    let cx = context(vec![plan], Gone::new());
    let mut outcomes = Vec::new();
    for at in 0..lanes {
        let lane = lane(&format!("l{at}"));
        let mut stack =
            pipeline("[]").build(stack::deliver(&lane.id, 0, Priority::default(), &cx), &cx);
        for number in 0..batches {
            let event = at * 1_000 + number;
            outcomes.push(call(&mut stack, batch(&lane, number + 1, event..event + 1)).await);
        }
    }
    (breaker, outcomes)
}

fn all_are_there_in_order(sink: &ScriptedSink, lanes: u64, batches: u64) {
    let mut by_lane: HashMap<u64, Vec<u64>> = HashMap::new();
    for id in ids(&sink.written()) {
        let seen = by_lane.entry(id / 1_000).or_default();
        if !seen.contains(&(id % 1_000)) {
            seen.push(id % 1_000);
        }
    }
    assert_eq!(by_lane.len() as u64, lanes);
    for seen in by_lane.values() {
        assert_eq!(*seen, (0..batches).collect::<Vec<_>>());
    }
}

#[tokio::test(start_paused = true)]
async fn in_an_outage_little_is_sent_again_and_afterwards_everything_is_there_in_order() {
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    let _counted_here = metrics::set_default_local_recorder(&recorder);
    let sink = ScriptedSink::new("main", []);
    let (length, started) = (Duration::from_secs(60), tokio::time::Instant::now());
    // So late that windows are full when the first failure is seen.
    sink.fail_for(length, Duration::from_secs(2));
    let (breaker, outcomes) = send(&sink, &Config::default(), 20, 40).await;
    let following = tokio::spawn(join_all(outcomes));
    tokio::time::sleep_until(started + length).await;

    let (first, again) = attempts(&sink.calls());
    assert_eq!(first, 800, "all were tried before the first failure");
    assert!(again > 0 && again * 5 < first, "{again} retries of {first}");
    let figures = recorder.handle().render();
    for (name, calls) in [("first_attempts", first), ("retries", again)] {
        let line = format!("headgate_sink_{name}_total{{sink=\"main\"}} {calls}");
        assert!(figures.contains(&line), "no `{line}` in {figures}");
    }
    let opened = started + Duration::from_secs(2);
    let mut probes: Vec<_> = sink.calls().iter().map(|call| call.at).collect();
    probes.retain(|at| *at > opened);
    assert!(probes.len() > 15, "it is looked for: {}", probes.len());
    assert!(
        probes
            .windows(2)
            .all(|pair| pair[1] - pair[0] >= Duration::from_secs(1)),
        "no two probes within a second: {probes:?}"
    );

    for outcome in following.await.unwrap() {
        assert!(matches!(outcome, Outcome::Durable));
    }
    assert_eq!(breaker.state(), BreakerState::Closed);
    assert!(matches!(sink.status().get(), State::Ready));
    all_are_there_in_order(&sink, 20, 40);
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_fails_now_and_then_gets_no_more_again_than_the_budget_says() {
    let sink = ScriptedSink::new("main", []);
    sink.fail_one_in(10);
    let config = Config {
        // Only the budget bounds.
        attempts: u32::MAX,
        ..Config::default()
    };
    let started = tokio::time::Instant::now();
    let (_, outcomes) = send(&sink, &config, 4, 500).await;
    for outcome in join_all(outcomes).await {
        assert!(matches!(outcome, Outcome::Durable));
    }
    let (first, again) = attempts(&sink.calls());
    // What is covered, what was in hand, and a probe a second.
    let covered = first / 5 + 10 + started.elapsed().as_secs() as usize;
    assert!(again > 100, "it does fail: {again}");
    // A window that had begun to go when the budget ran out goes on.
    assert!(
        again <= covered + 32,
        "{again} retries of {first}, {covered} covered"
    );
    all_are_there_in_order(&sink, 4, 500);
}

#[tokio::test(start_paused = true)]
async fn with_full_jitter_a_pause_is_anything_up_to_its_bound() {
    let config = Config {
        attempts: u32::MAX,
        ..Config::default()
    };
    let mut shares = Vec::new();
    for _ in 0..40 {
        let sink = ScriptedSink::new("main", []);
        sink.fail_for(Duration::from_secs(3), Duration::ZERO);
        let (_, outcomes) = send(&sink, &config, 1, 1).await;
        join_all(outcomes).await;
        let at: Vec<_> = sink.calls().iter().map(|call| call.at).collect();
        // What the budget covers without first attempts: afterwards the breaker has a say.
        for (doublings, pair) in at.windows(2).take(8).enumerate() {
            let bound = Duration::from_millis(100 << doublings).min(config.max.get());
            let pause = pair[1] - pair[0];
            // Timers are as fine as a millisecond.
            assert!(
                pause <= bound + Duration::from_millis(2),
                "{pause:?} of {bound:?}"
            );
            shares.push(pause.as_secs_f64() / bound.as_secs_f64());
        }
    }
    for quarter in 0..4 {
        let from = f64::from(quarter) / 4.0;
        let within = shares
            .iter()
            .filter(|share| (from..from + 0.25).contains(*share));
        let within = within.count();
        assert!(
            within * 10 > shares.len(),
            "{within} of {} from {from}",
            shares.len()
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_nobody_answers_is_alone_until_it_is_late() {
    let config = Config {
        attempts: 1,
        ..Config::default()
    };
    let breaker = Arc::new(Breaker::new(
        "main",
        config,
        headgate_sdk::status::Status::default(),
    ));
    breaker.failed("away");
    assert_eq!(breaker.state(), BreakerState::Open("away".into()));
    let probe = breaker.admit().await;
    assert_eq!(breaker.state(), BreakerState::HalfOpen("away".into()));
    let other = tokio::time::timeout(Duration::from_secs(20), breaker.admit()).await;
    assert!(
        other.is_err(),
        "a second probe went while the first was under way"
    );

    breaker.trip("late");
    let second = breaker.admit().await;
    drop(probe);
    assert_eq!(
        breaker.state(),
        BreakerState::HalfOpen("late".into()),
        "the end of an earlier probe says nothing about this one"
    );
    drop(second);
    assert_eq!(breaker.state(), BreakerState::Open("late".into()));
    let before = tokio::time::Instant::now();
    let _third = breaker.admit().await;
    assert_eq!(before.elapsed(), Duration::from_secs(1));
    breaker.succeeded();
    assert_eq!(breaker.state(), BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn time_without_success_opens_the_breaker_and_without_jitter_pauses_double() {
    let sink = ScriptedSink::new("main", []);
    let config = Config {
        attempts: u32::MAX,
        jitter: Jitter::None,
        ..Config::default()
    };
    let started = tokio::time::Instant::now();
    sink.fail_for(Duration::from_secs(29), Duration::ZERO);
    let (breaker, outcomes) = send(&sink, &config, 1, 1).await;
    join_all(outcomes).await;
    let at: Vec<_> = sink
        .calls()
        .iter()
        .map(|call| (call.at - started).as_millis())
        .collect();
    let mut doubled = Vec::new();
    let (mut next, mut pause) = (0, 100);
    while next < 29_000 {
        doubled.push(next);
        next += pause;
        pause = (pause * 2).min(10_000);
    }
    doubled.push(next);
    let near = at
        .iter()
        .zip(&doubled)
        .all(|(at, due)| at.abs_diff(*due) < 50);
    assert!(at.len() == doubled.len() && near, "{at:?} {doubled:?}");
    assert_eq!(breaker.state(), BreakerState::Closed);

    let total = Config {
        total: headgate_sdk::config::HumanDuration::from_secs(5),
        ..config
    };
    let breaker = Arc::new(Breaker::new("main", total, sink.status().clone()));
    breaker.failed("away");
    tokio::time::sleep(Duration::from_secs(4)).await;
    breaker.failed("away");
    assert_eq!(breaker.state(), BreakerState::Closed);
    tokio::time::sleep(Duration::from_secs(1)).await;
    breaker.failed("away");
    assert_eq!(breaker.state(), BreakerState::Open("away".into()));
}
