//! Dead letters that are tried again, and events that are replayed, in a whole gateway.

use std::time::Duration;

use headgate_sdk::{Data, DeadLetter, Envelope, Timestamp};

use super::{Gateway, ReplayWay};
use crate::config::Loader;
use crate::dead_letters::{Filter, Kept};
use crate::pipeline::dead_letter::DeadLetterWriter;
use crate::replay::Choice;
use crate::sink::log::Start;

async fn start(folder: &std::path::Path) -> Gateway {
    let file = folder.join("headgate.yaml");
    std::fs::create_dir_all(folder.join("inbox")).unwrap();
    let text = format!(
        "data_dir: {0}/data\nhttp: {{ listen: '127.0.0.1:0' }}\nadmin: {{ listen: '127.0.0.1:0' }}\n\
         sources:\n  inbox: {{ type: files, paths: ['{0}/inbox'] }}\n",
        folder.display()
    );
    std::fs::write(&file, text).unwrap();
    let loaded = Loader::new().load(&file).unwrap();
    Gateway::start(loaded.config).await.unwrap()
}

fn letter(n: u32, source: &str) -> DeadLetter {
    let mut envelope = Envelope::new(
        format!("e{n}"),
        format!("urn:headgate:default:files:{source}"),
        "a.v1",
        Timestamp::UNIX_EPOCH,
        Data::json(format!("{n}")),
    );
    envelope.recordedtime = Timestamp::from_second(77).unwrap();
    DeadLetter::new(envelope, "validate", "invalid", "mend it")
}

async fn all(gateway: &Gateway) -> Vec<Kept> {
    gateway
        .dead_letters()
        .list(&Filter::default(), 0, 100)
        .await
        .unwrap()
}

/// The ids in the log once there are `count` of them.
async fn delivered(gateway: &Gateway, count: usize) -> Vec<(String, i64)> {
    let mut reader = gateway.log().unwrap().reader(Start::Oldest);
    let mut found = Vec::new();
    while found.len() < count {
        let events = tokio::time::timeout(Duration::from_secs(120), reader.next(1 << 20)).await;
        let events = events.expect("all are delivered within the time").unwrap();
        found.extend(events.iter().map(|event| {
            let envelope = &event.record.envelope;
            (envelope.id.to_string(), envelope.recordedtime.as_second())
        }));
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_is_tried_again_once_with_its_id_also_when_a_crash_hid_that_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = start(folder.path()).await;
    let mut letters: Vec<_> = (0..5).map(|n| letter(n, "inbox")).collect();
    letters.push(letter(9, "gone"));
    gateway.dead_letters().write(letters).await;
    let kept = all(&gateway).await;

    let retried = gateway.retry_dead_letters(kept.clone()).await.unwrap();
    assert_eq!(
        (retried.accepted, retried.refused.values().sum::<usize>()),
        (5, 1)
    );
    let left = all(&gateway).await;
    assert_eq!(left.len(), 1, "{left:?}");
    assert_eq!(left[0].letter.envelope.id, "e9");
    let expected: Vec<_> = (0..5).map(|n| (format!("e{n}"), 77)).collect();
    assert_eq!(delivered(&gateway, 5).await, expected);

    // What two operators asked for at once happens once.
    let again = gateway.retry_dead_letters(kept).await.unwrap();
    assert_eq!(again.accepted, 0);

    // The process dies between the journal and the resolution.
    gateway.dead_letters().write(vec![letter(5, "inbox")]).await;
    let kept = all(&gateway).await.pop().unwrap();
    let lane = gateway
        .retry_lane(&"inbox".into(), "default".into())
        .await
        .unwrap()
        .unwrap();
    gateway
        .accept(&lane, std::slice::from_ref(&kept), Vec::new())
        .await
        .unwrap();
    drop(lane);
    assert!(gateway.shutdown(Duration::from_secs(120)).await);
    drop(gateway);

    let gateway = start(folder.path()).await;
    assert_eq!(all(&gateway).await.len(), 2, "the letter still waits");
    gateway
        .dead_letters()
        .write(vec![letter(100, "inbox")])
        .await;
    let kept = all(&gateway).await;
    gateway.retry_dead_letters(kept).await.unwrap();
    assert_eq!(all(&gateway).await.len(), 1);
    let mut expected = expected;
    expected.extend([("e5".to_owned(), 77), ("e100".to_owned(), 77)]);
    assert_eq!(delivered(&gateway, 7).await, expected, "nothing came twice");
    assert!(gateway.shutdown(Duration::from_secs(120)).await);
}

/// (id, replayid, topic) of everything in the log once there are `count`.
async fn logged(gateway: &Gateway, count: usize) -> Vec<(String, Option<String>, String)> {
    delivered(gateway, count).await;
    let mut reader = gateway.log().unwrap().reader(Start::Oldest);
    let mut found = Vec::new();
    loop {
        let events = reader.read(1 << 20).await.unwrap();
        if events.is_empty() {
            return found;
        }
        found.extend(events.into_iter().map(|event| {
            let record = event.record;
            let replayid = record.envelope.replayid.as_ref().map(ToString::to_string);
            (
                record.envelope.id.to_string(),
                replayid,
                record.topic.to_string(),
            )
        }));
    }
}

fn choice(replayid: &str) -> Choice {
    Choice {
        replayid: replayid.into(),
        ..Choice::default()
    }
}

/// Replays all of it, a few events at a time.
async fn replay(gateway: &Gateway, way: &ReplayWay, choice: &Choice, dry_run: bool) -> usize {
    let (mut taken, mut after) = (0, None::<String>);
    loop {
        let part = gateway
            .replay(way, choice, after.as_deref(), 2, dry_run)
            .await
            .unwrap();
        taken += part.taken;
        match part.next {
            Some(next) => after = Some(next),
            None => return taken,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_delivered_is_replayed_from_the_log_with_its_id_and_comes_to_an_end() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = start(folder.path()).await;
    let letters: Vec<_> = (0..5).map(|n| letter(n, "inbox")).collect();
    gateway.dead_letters().write(letters).await;
    let kept = all(&gateway).await;
    gateway.retry_dead_letters(kept).await.unwrap();
    let original = logged(&gateway, 5).await;

    let way = ReplayWay::Log {
        from: None,
        to: None,
        topic: Some("again".into()),
    };
    assert_eq!(replay(&gateway, &way, &choice("r1"), true).await, 5);
    assert_eq!(
        logged(&gateway, 5).await,
        original,
        "a dry run delivers nothing"
    );
    assert!(gateway.last_replay().unwrap().is_none());
    assert_eq!(replay(&gateway, &way, &choice("r1"), false).await, 5);
    assert!(gateway.last_replay().unwrap().is_some());
    let after = logged(&gateway, 10).await;
    let again: Vec<_> = (0..5)
        .map(|n| (format!("e{n}"), Some("r1".to_owned()), "again".to_owned()))
        .collect();
    assert_eq!(after[..5], original);
    assert_eq!(after[5..], again);

    let one = Choice {
        id: Some("e3".to_owned()),
        tenant: Some("default".to_owned()),
        event_type: Some("a.*".to_owned()),
        source: Some("inbox".to_owned()),
        ..choice("r2")
    };
    // The original, and what the first replay wrote.
    assert_eq!(replay(&gateway, &way, &one, true).await, 2);
    let later = Choice {
        since: Some(Timestamp::now()),
        ..choice("r3")
    };
    assert_eq!(replay(&gateway, &way, &later, true).await, 0);
    let unknown = ReplayWay::Log {
        from: None,
        to: Some("nowhere".to_owned()),
        topic: None,
    };
    let refused = gateway
        .replay(&unknown, &choice("r4"), None, 1, false)
        .await;
    assert!(
        refused
            .unwrap_err()
            .to_string()
            .contains("no sink `nowhere`")
    );
    assert!(gateway.shutdown(Duration::from_secs(120)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_accepted_is_replayed_from_the_journal_through_the_pipeline() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = start(folder.path()).await;
    let lane = gateway
        .aside_lane("pushed", &"inbox".into(), "default".into())
        .await
        .unwrap()
        .unwrap();
    let batch = headgate_sdk::Batch {
        events: (0..3).map(|n| *letter(n, "inbox").envelope).collect(),
        ..headgate_sdk::Batch::default()
    };
    let permit = lane.reserve(batch.weight()).await.unwrap();
    permit.send(batch).accepted().await.unwrap();
    logged(&gateway, 3).await;
    assert_eq!(
        replay(&gateway, &ReplayWay::Journal, &choice("j1"), true).await,
        3
    );
    assert_eq!(
        replay(&gateway, &ReplayWay::Journal, &choice("j1"), false).await,
        3
    );
    let found = logged(&gateway, 6).await;
    let ids: Vec<_> = found[3..]
        .iter()
        .map(|(id, replayid, _)| (id.as_str(), replayid.as_deref()))
        .collect();
    assert_eq!(
        ids,
        [("e0", Some("j1")), ("e1", Some("j1")), ("e2", Some("j1"))]
    );
    // A lane that was opened for a moment lets go of its records: they would hold the journal.
    let started = std::time::Instant::now();
    while gateway
        .journal()
        .lanes()
        .iter()
        .any(|lane| lane.pending_from.is_some())
    {
        assert!(
            started.elapsed() < Duration::from_secs(120),
            "{:?}",
            gateway.journal().lanes()
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // What was replayed is not what was accepted.
    assert_eq!(
        replay(&gateway, &ReplayWay::Journal, &choice("j2"), true).await,
        3
    );
    drop(lane);
    assert!(gateway.shutdown(Duration::from_secs(120)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_says_where_an_event_is_and_how_it_came_there() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = start(folder.path()).await;
    let lane = gateway
        .aside_lane("pushed", &"inbox".into(), "default".into())
        .await
        .unwrap()
        .unwrap();
    let batch = headgate_sdk::Batch {
        events: vec![*letter(1, "inbox").envelope],
        rejected: vec![letter(2, "inbox")],
        ..headgate_sdk::Batch::default()
    };
    let permit = lane.reserve(batch.weight()).await.unwrap();
    permit.send(batch).accepted().await.unwrap();
    delivered(&gateway, 1).await;
    let trace = async |id: &str| {
        crate::trace::find(&gateway.places(), id, None)
            .await
            .unwrap()
    };
    let started = std::time::Instant::now();
    let found = loop {
        let found = trace("e1").await;
        // The ledger is a second behind.
        if found.delivered[0].run.is_some() && !found.received[0].runs.is_empty() {
            break found;
        }
        assert!(started.elapsed() < Duration::from_secs(120), "{found:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let (received, delivered) = (&found.received[0], &found.delivered[0]);
    assert_eq!((found.received.len(), found.delivered.len()), (1, 1));
    assert_eq!(Some(&received.lane), delivered.lane.as_ref());
    assert_eq!(received.event.recorded, Timestamp::from_second(77).unwrap());
    let run = delivered.run.as_ref().unwrap();
    assert_eq!(
        (run.attempts, run.events, &run.sink),
        (1, 1, &delivered.sink)
    );
    assert_eq!(received.runs[0], *run);

    while all(&gateway).await.is_empty() {
        tokio::task::yield_now().await;
    }
    let found = trace("e2").await;
    assert!(found.delivered.is_empty());
    assert_eq!(found.dead.len(), 1);
    assert_eq!(
        (&*found.dead[0].letter.step, &*found.dead[0].letter.reason),
        ("validate", "invalid")
    );
    drop(lane);
    assert!(gateway.shutdown(Duration::from_secs(120)).await);
}
