//! Gateways that end without a word, and what the next one begins with.

use headgate::sink::{Outcome, Sink as _};
use headgate_sdk::{Entry, LaneId, Position, status::State};
use rdkafka::{
    ClientConfig,
    producer::{BaseProducer, BaseRecord, Producer as _},
};

use super::{Place, config, group, send_ten, within};
use crate::{
    kafka::{brokers, figure, state, topic},
    support::{
        consumer::read_all,
        scale,
        way::{Way, assert_complete, durable},
    },
};

/// Every round is a gateway with an empty `data_dir` that takes the shard while the one before is still writing.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_takes_over_goes_on_exactly_where_the_last_commit_was() {
    let (brokers, group) = (brokers(), group());
    let topic = topic(&brokers, 3, &[]).await;
    let mut abandoned = Vec::new();
    let mut last = 0;
    for round in 0..scale(6, 60) {
        let place = Place::new(&group);
        let mut settings = config(&brokers);
        // Many small transactions: some are under way at any moment.
        settings.transactions.interval = headgate_sdk::config::HumanDuration::new(
            std::time::Duration::from_millis(1 + round * 7 % 20),
        );
        let sink = place.sink(settings);
        let resumed = place.resumes(&sink, "numbers/").await;
        assert!(resumed >= last, "round {round} resumes at {resumed}");
        let mut way = Way::new(sink.clone(), "numbers/", &topic);
        let mut outcomes = Vec::new();
        for n in 0..40 {
            outcomes.push(send_ten(&mut way, resumed + n * 10).await);
        }
        let known = usize::try_from(5 + round % 5).unwrap();
        for outcome in outcomes.drain(..known) {
            assert!(matches!(durable(outcome).await, Outcome::Durable));
        }
        last = resumed + known as u64 * 10;
        abandoned.push((place, sink, way, outcomes));
    }
    let place = Place::new(&group);
    let sink = place.sink(config(&brokers));
    let end = place.resumes(&sink, "numbers/").await;
    assert!(end >= last);
    let repeats = assert_complete(&read_all(&brokers, &topic, "read_committed"), 0..end);
    assert_eq!(repeats, 0);
    sink.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_transaction_of_another_producer_does_not_hide_our_last_checkpoint() {
    let (brokers, group) = (brokers(), group());
    let topic = topic(&brokers, 1, &[]).await;
    let first = Place::new(&group);
    let sink = first.sink(config(&brokers));
    assert_eq!(first.resumes(&sink, "numbers/").await, 0);
    let mut way = Way::new(sink.clone(), "numbers/", &topic);
    let outcome = send_ten(&mut way, 0).await;
    assert!(matches!(durable(outcome).await, Outcome::Durable));

    // From here on, what a committed reader sees of the partition ends at this record.
    let other: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", &brokers)
        .set("transactional.id", format!("{group}-other-0"))
        .create()
        .unwrap();
    other
        .init_transactions(std::time::Duration::from_secs(30))
        .unwrap();
    other.begin_transaction().unwrap();
    let checkpoints = format!("{group}.checkpoints");
    other
        .send(
            BaseRecord::<str, str>::to(&checkpoints)
                .partition(0)
                .key("x:of another")
                .payload("1"),
        )
        .unwrap();
    other.flush(std::time::Duration::from_secs(30)).unwrap();
    let outcome = send_ten(&mut way, 10).await;
    assert!(matches!(durable(outcome).await, Outcome::Durable));
    sink.close().await;

    let second = Place::new(&group);
    let sink = second.sink(config(&brokers));
    let lane = LaneId::from_stored("numbers/");
    let mut prepared = std::pin::pin!(sink.prepare(&lane, 0));
    let waits = state(&sink, |state| {
        let reason = state.reason().unwrap_or_default();
        reason.contains("another producer's open transaction")
    });
    tokio::select! {
        _ = waits => {}
        _ = &mut prepared => panic!("the lane opens at {}", second.position(&lane).await),
    }
    other
        .abort_transaction(std::time::Duration::from_secs(30))
        .unwrap();
    within(prepared).await.unwrap();
    assert_eq!(second.position(&lane).await, 20);
    sink.close().await;
}

/// What another sink kept so far is not forgotten when this one begins to keep it, nor when it comes back.
#[tokio::test(flavor = "multi_thread")]
async fn the_index_goes_to_the_topic_when_the_sink_begins_to_keep_it() {
    let (brokers, group) = (brokers(), group());
    let lane = LaneId::from_stored("numbers/");
    let store = async |place: &Place, position: u64, entries: Vec<Entry>| {
        place
            .member
            .checkpoints
            .commit(headgate::runtime::Commit {
                lane: lane.clone(),
                checkpoint: headgate::sink::Checkpoint {
                    position: Some(Position::encode(&position)),
                    entries,
                    unfinished: false,
                },
                mark: None,
                done: None,
            })
            .await;
        place.member.checkpoints.flush().await;
    };
    let taken = async |place: &Place| {
        let sink = place.sink(config(&brokers));
        let position = place.resumes(&sink, "numbers/").await;
        let entries = place
            .member
            .checkpoints
            .entries(&lane, "", None, 10)
            .unwrap();
        sink.close().await;
        let keys: Vec<String> = entries.iter().map(|(key, _)| key.to_string()).collect();
        (position, keys)
    };
    let first = Place::new(&group);
    store(&first, 7, vec![Entry::put("a", "1"), Entry::put("b", "2")]).await;
    assert_eq!(taken(&first).await, (7, vec!["a".into(), "b".into()]));
    // Another sink was used for a while: what the topic says is old.
    store(&first, 9, vec![Entry::remove("a"), Entry::put("c", "3")]).await;
    assert_eq!(taken(&first).await, (9, vec!["b".into(), "c".into()]));
    let fresh = Place::new(&group);
    assert_eq!(taken(&fresh).await, (9, vec!["b".into(), "c".into()]));
}

/// Moved back and forth while the gateway was stopped; also after one that was killed, whose index did not get to the topic's end.
#[tokio::test(flavor = "multi_thread")]
async fn a_lane_that_a_person_moved_resumes_there() {
    let (brokers, group) = (brokers(), group());
    let topic = topic(&brokers, 1, &[]).await;
    let lane = LaneId::from_stored("numbers/");
    let delivered = async |place: &Place, from: u64| {
        let sink = place.sink(config(&brokers));
        assert_eq!(place.resumes(&sink, "numbers/").await, from);
        let mut way = Way::new(sink.clone(), "numbers/", &topic);
        let outcome = send_ten(&mut way, from).await;
        assert!(matches!(durable(outcome).await, Outcome::Durable));
        sink.close().await;
    };
    let moved = async |place: &Place, to: u64| {
        let checkpoints = place.member.checkpoints.clone();
        // Nobody is at work in a gateway that was stopped.
        checkpoints.flush().await;
        let position = Position::encode(&to);
        tokio::task::block_in_place(|| checkpoints.move_lane(&lane, &position)).unwrap();
    };
    let place = Place::new(&group);
    delivered(&place, 0).await;
    moved(&place, 5).await;
    delivered(&place, 5).await;
    delivered(&place, 15).await;
    // One whose index knows the lane, and not how far the topic is.
    let behind = Place::new(&group);
    moved(&behind, 3).await;
    delivered(&behind, 3).await;
    delivered(&behind, 13).await;
    // It counts once: what comes from the topic later is not held up by it.
    delivered(&place, 23).await;
    let fresh = Place::new(&group);
    delivered(&fresh, 33).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_number_of_shards_is_refused() {
    let (brokers, group) = (brokers(), group());
    let first = Place::of("one", &group, 2);
    let sink = first.sink(config(&brokers));
    first.resumes(&sink, "numbers/").await;
    sink.close().await;
    let second = Place::of("one", &group, 3);
    let sink = second.sink(config(&brokers));
    let refused = within(sink.prepare(&LaneId::from_stored("numbers/"), 0)).await;
    let message = refused.unwrap_err().to_string();
    assert!(message.contains("write `shards: 2`"), "{message}");
    let shown = state(&sink, |state| matches!(state, State::Failed(_))).await;
    assert_eq!(shown.reason(), Some(message.as_str()));
    assert!((figure(&sink, "headgate_kafka_shards_held", None) - 1.0).abs() < 0.1);
    sink.close().await;
}
