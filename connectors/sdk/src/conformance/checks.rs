//! What is checked.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{Sent, Subject, World};
use crate::{Connector, Envelope, LaneId, Str};

/// Events of each part of a check.
const EVENTS: u64 = 200;
/// The longest that anything may take; a source that has not done it by then never will.
const DEADLINE: Duration = Duration::from_secs(180);
const CAPACITY: usize = 4 << 20;

/// Runs every check, each on a fresh subject.
///
/// # Panics
/// If one fails; the message says what the connector did wrong.
pub async fn passes<S: Subject>(mut subject: impl AsyncFnMut() -> S) {
    refuses_bad_configuration(&subject().await);
    loses_nothing_and_keeps_order(subject().await).await;
    resumes_after_crash(subject().await).await;
    stops_cleanly(subject().await).await;
}

fn refuses_bad_configuration<S: Subject>(subject: &S) {
    let info = World::new(CAPACITY).info::<S::Connector>();
    let bad = subject.bad_configs();
    assert!(
        !bad.is_empty(),
        "name at least one configuration that must be refused"
    );
    for (what, config) in bad {
        let read = serde_json::from_value(config);
        let accepted = read.is_ok_and(|config| S::Connector::build(config, &info).is_ok());
        assert!(!accepted, "a bad configuration was accepted: {what}");
    }
    let good =
        serde_json::from_value(subject.config()).expect("the good configuration can be read");
    if let Err(error) = S::Connector::build(good, &info) {
        panic!("the good configuration was refused: {error}");
    }
}

/// Events that happen while the source runs, and those from before, arrive once each and in order.
async fn loses_nothing_and_keeps_order<S: Subject>(mut subject: S) {
    let world = World::new(CAPACITY);
    let run = world
        .start::<S::Connector>(subject.config())
        .expect("the good configuration is accepted");
    within("produce events", subject.produce(0..EVENTS, &world)).await;
    within(
        "send all events",
        world
            .lanes
            .wait_for(|sent| numbers(&subject, sent, durable).len() as u64 >= EVENTS),
    )
    .await;
    assert_once_and_in_order(&subject, &world.lanes.sent(), EVENTS);
    stop(run).await;
}

/// A crash in the middle loses nothing; what is sent again has the same ids.
async fn resumes_after_crash<S: Subject>(mut subject: S) {
    let world = World::new(CAPACITY);
    let mut ids = BTreeMap::new();
    world.lanes.hold();
    for round in 1..=3 {
        let run = world
            .start::<S::Connector>(subject.config())
            .expect("the good configuration is accepted");
        within(
            "produce events",
            subject.produce((round - 1) * EVENTS..round * EVENTS, &world),
        )
        .await;
        // Some of this round must be under way before the crash, or it would prove nothing.
        let some = (round - 1) * EVENTS + EVENTS / 2;
        let sent_some = world
            .lanes
            .wait_for(|sent| numbers(&subject, sent, all).range(some..).next().is_some());
        within("send events while durability is held back", sent_some).await;
        world.lanes.release_up_to(2);
        remember_ids(&subject, &world.lanes.sent(), &mut ids);
        run.kill().await;
        world.lanes.crash();
    }
    world.lanes.release();
    let run = world
        .start::<S::Connector>(subject.config())
        .expect("the good configuration is accepted");
    let total = 3 * EVENTS;
    let all_durable = world
        .lanes
        .wait_for(|sent| numbers(&subject, sent, durable).len() as u64 >= total);
    within("send everything after the crashes", all_durable).await;
    remember_ids(&subject, &world.lanes.sent(), &mut ids);
    assert_once_and_in_order(&subject, &world.lanes.sent(), total);
    stop(run).await;
}

/// A stop at any time ends soon and without an error, and nothing is lost by it.
async fn stops_cleanly<S: Subject>(mut subject: S) {
    let world = World::new(CAPACITY);
    for round in 0..3 {
        let run = world
            .start::<S::Connector>(subject.config())
            .expect("the good configuration is accepted");
        within(
            "produce events",
            subject.produce(round * EVENTS..(round + 1) * EVENTS, &world),
        )
        .await;
        stop(run).await;
    }
    let run = world
        .start::<S::Connector>(subject.config())
        .expect("the good configuration is accepted");
    let total = 3 * EVENTS;
    let all = world
        .lanes
        .wait_for(|sent| numbers(&subject, sent, durable).len() as u64 >= total);
    within("send everything after the stops", all).await;
    assert_once_and_in_order(&subject, &world.lanes.sent(), total);
    stop(run).await;
}

async fn stop(run: super::Run) {
    if let Err(error) = run.stop(DEADLINE).await {
        panic!("a stop ended in an error: {error}");
    }
}

fn durable(sent: &Sent) -> Vec<&Envelope> {
    sent.durable.iter().collect()
}

fn all(sent: &Sent) -> Vec<&Envelope> {
    sent.durable.iter().chain(&sent.pending).collect()
}

fn numbers<S: Subject>(
    subject: &S,
    sent: &BTreeMap<LaneId, Sent>,
    which: fn(&Sent) -> Vec<&Envelope>,
) -> BTreeSet<u64> {
    sent.values()
        .flat_map(which)
        .filter_map(|event| subject.number(event))
        .collect()
}

fn remember_ids<S: Subject>(
    subject: &S,
    sent: &BTreeMap<LaneId, Sent>,
    ids: &mut BTreeMap<u64, Str>,
) {
    for event in sent.values().flat_map(all) {
        let Some(number) = subject.number(event) else {
            continue;
        };
        let id = ids.entry(number).or_insert_with(|| event.id.clone());
        assert_eq!(
            *id, event.id,
            "event {number} got another id when it was sent again"
        );
    }
}

fn assert_once_and_in_order<S: Subject>(subject: &S, sent: &BTreeMap<LaneId, Sent>, total: u64) {
    let mut seen = BTreeSet::new();
    for (lane, sent) in sent {
        let mut last = None;
        for number in sent
            .durable
            .iter()
            .filter_map(|event| subject.number(event))
        {
            assert!(
                last < Some(number),
                "lane `{lane}`: event {number} came after event {last:?}"
            );
            assert!(seen.insert(number), "event {number} became durable twice");
            last = Some(number);
        }
    }
    let missing: Vec<_> = (0..total)
        .filter(|number| !seen.contains(number))
        .take(10)
        .collect();
    assert!(
        missing.is_empty(),
        "events were lost, the first of them: {missing:?}"
    );
    assert_eq!(
        seen.len() as u64,
        total,
        "events were made up: {:?}",
        seen.range(total..).next()
    );
}

async fn within<T>(what: &str, work: impl Future<Output = T>) -> T {
    match tokio::time::timeout(DEADLINE, work).await {
        Ok(done) => done,
        Err(_) => panic!("the source did not {what} within {DEADLINE:?}"),
    }
}
