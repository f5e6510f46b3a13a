//! How the log behaves.

use std::path::Path;
use std::sync::Arc;

use futures::StreamExt;
use headgate_sdk::config::{ByteSize, HumanDuration};
use headgate_sdk::{Data, Entry, Envelope, LaneId, Position, Str, Timestamp};
use tower::{Service, ServiceExt};

use super::{Config, EmbeddedLog, LogSink, Start, lines};
use crate::admin::LogQuery;
use crate::runtime::{Checkpoints, Commit};
use crate::segment::sim::{Fault, Rng, SimFiles};
use crate::sink::{Checkpoint, LaneSink, Outcome, Record, Sink, SinkBatch};

const SEGMENT_BYTES: u64 = 16 << 10;

fn open(files: &SimFiles) -> Arc<EmbeddedLog> {
    open_bounded(files, 10 << 20)
}

fn open_bounded(files: &SimFiles, max_bytes: u64) -> Arc<EmbeddedLog> {
    let config = Config {
        max_age: HumanDuration::from_secs(3600),
        max_bytes: ByteSize::from_bytes(max_bytes),
    };
    EmbeddedLog::open_with(Path::new("/log"), config, SEGMENT_BYTES, files.clone())
        .unwrap()
        .0
}

fn checkpoints(dir: &tempfile::TempDir) -> Checkpoints {
    Checkpoints::open(&dir.path().join("checkpoints.redb")).unwrap()
}

fn lane(name: &str) -> LaneId {
    LaneId::from_stored(name)
}

fn record(n: u64, kind: &str) -> Record {
    let data = Data::json(format!("{{\"n\":{n},\"pad\":\"{}\"}}", "x".repeat(300)));
    Record {
        envelope: Envelope::new(
            format!("e{n}"),
            "urn:headgate:default:files:a",
            kind,
            Timestamp::UNIX_EPOCH,
            data,
        ),
        topic: "topic".into(),
        key: Some("k".into()),
        headers: vec![("h".into(), "v".into())],
    }
}

fn batch(lane: &LaneId, numbers: std::ops::Range<u64>, checkpoint: bool) -> Arc<SinkBatch> {
    let end = numbers.end;
    Arc::new(SinkBatch {
        lane: lane.clone(),
        number: end,
        records: numbers.map(|n| record(n, "a.v1")).collect(),
        dead_letters: Vec::new(),
        checkpoint: checkpoint.then(|| Checkpoint {
            position: Some(Position::encode(&end)),
            entries: vec![Entry::put(format!("k{end}"), vec![1])],
            ..Checkpoint::default()
        }),
        landed: crate::sink::Notes::default(),
    })
}

async fn send(way: &mut LaneSink, batch: Arc<SinkBatch>) -> Outcome {
    way.ready().await.unwrap().call(batch).await.unwrap().await
}

async fn ids(log: &Arc<EmbeddedLog>, start: Start) -> Vec<String> {
    let mut reader = log.reader(start);
    let mut ids = Vec::new();
    loop {
        let events = reader.read(1000).await.unwrap();
        if events.is_empty() {
            return ids;
        }
        ids.extend(
            events
                .iter()
                .map(|event| event.record.envelope.id.to_string()),
        );
    }
}

async fn collect(log: &Arc<EmbeddedLog>, query: LogQuery) -> Vec<serde_json::Value> {
    let lines = lines(log, &query).unwrap();
    lines
        .map(|line| serde_json::from_str(&line.unwrap()).unwrap())
        .collect()
        .await
}

#[tokio::test]
async fn what_was_delivered_reads_back_whole() {
    let log = open(&SimFiles::new());
    let sink = LogSink::new("main".into(), log.clone());
    let a = lane("a/x");
    let mut way = sink.open_lane(&a, 0);
    assert!(matches!(
        send(&mut way, batch(&a, 1..4, false)).await,
        Outcome::Durable
    ));
    let events = log.reader(Start::Oldest).read(1 << 20).await.unwrap();
    assert_eq!(events.len(), 3);
    for (event, n) in events.iter().zip(1..) {
        let expected = record(n, "a.v1");
        assert_eq!((event.position, &event.lane), (n, &a));
        assert_eq!(event.record.envelope, expected.envelope);
        assert_eq!(event.record.topic, expected.topic);
        assert_eq!(event.record.key, expected.key);
        assert_eq!(event.record.headers, expected.headers);
    }
}

#[tokio::test]
async fn checkpoints_that_the_index_lacks_are_taken_from_the_log_at_start() {
    let files = SimFiles::new();
    let dir = tempfile::tempdir().unwrap();
    let a = lane("a/x");
    {
        // The index is another one: as if every late commit had been lost.
        let elsewhere = tempfile::tempdir().unwrap();
        let log = open(&files);
        let sink = LogSink::new("main".into(), log);
        sink.recover(&checkpoints(&elsewhere)).await.unwrap();
        let mut way = sink.open_lane(&a, 0);
        for n in 0..30 {
            assert!(matches!(
                send(&mut way, batch(&a, n..n + 1, true)).await,
                Outcome::Durable
            ));
        }
    }
    let index = checkpoints(&dir);
    let sink = LogSink::new("main".into(), open(&files));
    sink.recover(&index).await.unwrap();
    assert_eq!(
        index.restored(&a).unwrap().unwrap().position,
        Some(Position::encode(&30))
    );
    assert_eq!(index.entries(&a, "k", None, 100).unwrap().len(), 30);
    assert_eq!(
        sink.log()
            .unwrap()
            .recover(&"main".into(), &index)
            .await
            .unwrap(),
        0,
        "a second start finds nothing new"
    );
}

#[tokio::test]
async fn the_index_follows_what_is_delivered() {
    let dir = tempfile::tempdir().unwrap();
    let index = checkpoints(&dir);
    let sink = LogSink::new("main".into(), open(&SimFiles::new()));
    sink.recover(&index).await.unwrap();
    let (a, b) = (lane("a/x"), lane("b/x"));
    let (mut way_a, mut way_b) = (sink.open_lane(&a, 0), sink.open_lane(&b, 0));
    for n in 1..20 {
        let (sent_a, sent_b) = tokio::join!(
            send(&mut way_a, batch(&a, n..n + 1, true)),
            send(&mut way_b, batch(&b, n..n + 2, true))
        );
        assert!(matches!(
            (sent_a, sent_b),
            (Outcome::Durable, Outcome::Durable)
        ));
    }
    index.flush().await;
    assert_eq!(
        index.restored(&a).unwrap().unwrap().position,
        Some(Position::encode(&20))
    );
    assert_eq!(
        index.restored(&b).unwrap().unwrap().position,
        Some(Position::encode(&21))
    );
}

/// A source that resumes where the checkpoint says, over and over, with the power cut in between.
#[tokio::test]
async fn every_event_is_in_the_log_exactly_once_whatever_the_power_does() {
    for seed in 0..40 {
        let mut rng = Rng::new(seed);
        let mut files = SimFiles::new();
        let a = lane("a/x");
        let mut durable = 0;
        for _ in 0..5 {
            let dir = tempfile::tempdir().unwrap();
            let index = checkpoints(&dir);
            let sink = LogSink::new("main".into(), open(&files));
            sink.recover(&index).await.unwrap();
            let restored = index
                .restored(&a)
                .unwrap()
                .and_then(|stored| stored.position);
            let mut next = restored.map_or(0, |position| position.decode::<u64>().unwrap());
            assert!(
                next >= durable,
                "seed {seed}: durable up to {durable}, resumes at {next}"
            );
            files.cut_after(rng.below(60));
            let mut way = sink.open_lane(&a, 0);
            loop {
                let end = next + 1 + rng.below(5);
                match send(&mut way, batch(&a, next..end, true)).await {
                    Outcome::Durable => durable = end,
                    Outcome::Retriable(_) => break,
                    Outcome::Rejected(rejections) => panic!("{rejections:?}"),
                }
                next = end;
            }
            files = files.after_cut(&mut rng);
        }
        let found = ids(&open(&files), Start::Oldest).await;
        let expected: Vec<_> = (0..found.len()).map(|n| format!("e{n}")).collect();
        assert_eq!(found, expected, "seed {seed}");
        assert!(found.len() as u64 >= durable);
    }
}

#[tokio::test]
async fn a_failed_disk_shows_in_the_status_and_the_batch_stays_retriable() {
    let files = SimFiles::new();
    let sink = LogSink::new("main".into(), open(&files));
    let a = lane("a/x");
    let mut way = sink.open_lane(&a, 0);
    files.inject(Some(Fault::DiskFull));
    assert!(matches!(
        send(&mut way, batch(&a, 0..1, false)).await,
        Outcome::Retriable(_)
    ));
    assert_eq!(sink.status().get().word(), "waiting");
    files.inject(None);
    assert!(matches!(
        send(&mut way, batch(&a, 0..1, false)).await,
        Outcome::Durable
    ));
    assert_eq!(sink.status().get().word(), "ready");
    files.inject(Some(Fault::SyncFails));
    assert!(matches!(
        send(&mut way, batch(&a, 1..2, false)).await,
        Outcome::Retriable(_)
    ));
    assert_eq!(sink.status().get().word(), "failed");
}

#[tokio::test]
async fn retention_goes_by_size_and_age_and_a_hold_stops_it() {
    let log = open_bounded(&SimFiles::new(), 128 << 10);
    let dir = tempfile::tempdir().unwrap();
    // Without the task that applies retention by itself.
    assert!(
        log.index
            .target
            .set(("main".into(), checkpoints(&dir)))
            .is_ok()
    );
    let sink = LogSink::new("main".into(), log.clone());
    let a = lane("a/x");
    let mut way = sink.open_lane(&a, 0);
    for n in 0..30 {
        send(&mut way, batch(&a, n * 10..n * 10 + 10, false)).await;
    }
    let retain = |later_s: i64| {
        let log = log.clone();
        let now = Timestamp::from_second(Timestamp::now().as_second() + later_s).unwrap();
        tokio::task::spawn_blocking(move || log.retain(now).unwrap())
    };
    assert!(log.stats().bytes > 150 << 10, "{:?}", log.stats());
    let hold = log.hold(&Str::new("slow"), 0);
    assert_eq!(retain(0).await.unwrap(), None, "everything is held");
    hold.advance(50);
    let up_to = retain(0).await.unwrap().unwrap();
    assert!(up_to <= 50, "held from 51 on, yet {up_to} may go");
    drop(hold);
    let up_to = retain(0).await.unwrap().unwrap();
    assert!(up_to > 50, "more than the size allows is kept: {up_to}");
    // A named reader holds against age only.
    let reader = log.reader(Start::Oldest);
    reader
        .store_cursor(&Str::new("g"), up_to + 1)
        .await
        .unwrap();
    assert_eq!(
        retain(7200).await.unwrap().filter(|went| *went > up_to),
        None
    );
    reader.store_cursor(&Str::new("g"), 100_000).await.unwrap();
    assert!(retain(7200).await.unwrap().unwrap() > up_to);
    while log.stats().first <= up_to {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn lines_begin_where_asked_and_hold_what_is_asked_for() {
    let log = open(&SimFiles::new());
    let sink = LogSink::new("main".into(), log.clone());
    let (a, b) = (lane("a/x"), lane("b/"));
    let (mut way_a, mut way_b) = (sink.open_lane(&a, 0), sink.open_lane(&b, 0));
    for n in 0..10 {
        let way = if n % 2 == 0 {
            (&mut way_a, &a)
        } else {
            (&mut way_b, &b)
        };
        send(way.0, batch(way.1, n..n + 1, true)).await;
    }
    let all = collect(&log, LogQuery::default()).await;
    assert_eq!(all.len(), 10);
    assert_eq!(all[0]["logposition"], 1);
    assert_eq!(all[9]["data"]["n"], 9);
    let position = all[6]["logposition"].as_u64();
    let later = collect(
        &log,
        LogQuery {
            after: position,
            ..LogQuery::default()
        },
    )
    .await;
    assert_eq!(later.len(), 3);
    let of_b = collect(
        &log,
        LogQuery {
            source: Some("b".into()),
            ..LogQuery::default()
        },
    )
    .await;
    assert!(
        of_b.iter()
            .all(|event| event["data"]["n"].as_u64().unwrap() % 2 == 1)
    );
    assert_eq!(of_b.len(), 5);
    let none = collect(
        &log,
        LogQuery {
            kind: Some("b.*".into()),
            ..LogQuery::default()
        },
    )
    .await;
    assert!(none.is_empty());
    let future = collect(
        &log,
        LogQuery {
            since: Some("2999-01-01T00:00:00Z".into()),
            ..LogQuery::default()
        },
    )
    .await;
    assert!(future.is_empty());
    let past = collect(
        &log,
        LogQuery {
            since: Some("2000-01-01T00:00:00Z".into()),
            ..LogQuery::default()
        },
    )
    .await;
    assert_eq!(past.len(), 10);
    let wrong = lines(
        &log,
        &LogQuery {
            since: Some("yesterday".into()),
            ..LogQuery::default()
        },
    );
    assert!(wrong.is_err());
}

#[tokio::test]
async fn a_group_goes_on_where_it_stopped_also_after_a_restart() {
    let files = SimFiles::new();
    let a = lane("a/x");
    let query = LogQuery {
        group: Some("g".into()),
        ..LogQuery::default()
    };
    {
        let log = open(&files);
        let sink = LogSink::new("main".into(), log.clone());
        let mut way = sink.open_lane(&a, 0);
        send(&mut way, batch(&a, 0..5, false)).await;
        assert_eq!(collect(&log, query.clone()).await.len(), 5);
        send(&mut way, batch(&a, 5..7, false)).await;
    }
    let log = open(&files);
    let rest = collect(&log, query.clone()).await;
    assert_eq!(
        rest.iter()
            .map(|event| event["id"].as_str().unwrap())
            .collect::<Vec<_>>(),
        ["e5", "e6"]
    );
    assert!(collect(&log, query).await.is_empty());
}

#[tokio::test]
async fn lines_follow_what_comes() {
    let log = open(&SimFiles::new());
    let sink = LogSink::new("main".into(), log.clone());
    let a = lane("a/x");
    let mut following = lines(
        &log,
        &LogQuery {
            follow: true,
            ..LogQuery::default()
        },
    )
    .unwrap();
    let line = tokio::spawn(async move { following.next().await.unwrap().unwrap() });
    let mut way = sink.open_lane(&a, 0);
    send(&mut way, batch(&a, 3..4, false)).await;
    assert!(line.await.unwrap().contains("\"e3\""));
}

#[tokio::test]
async fn a_commit_that_is_only_a_mark_stores_no_lane() {
    let dir = tempfile::tempdir().unwrap();
    let index = checkpoints(&dir);
    index
        .commit(super::indexer::mark_only(&"main".into(), 7))
        .await;
    index
        .commit(Commit {
            lane: lane("a/"),
            checkpoint: Checkpoint::default(),
            mark: None,
            done: None,
        })
        .await;
    index.flush().await;
    assert!(index.lanes().unwrap().is_empty());
    assert_eq!(super::indexer::read_mark("main", &index).unwrap(), 7);
}
