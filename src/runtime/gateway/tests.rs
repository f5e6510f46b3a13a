//! Dead letters that are tried again, in a whole gateway.

use std::time::Duration;

use headgate_sdk::{Data, DeadLetter, Envelope, Timestamp};

use super::Gateway;
use crate::config::Loader;
use crate::dead_letters::{Filter, Kept};
use crate::pipeline::dead_letter::DeadLetterWriter;
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
        let events = tokio::time::timeout(Duration::from_secs(20), reader.next(1 << 20)).await;
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
    assert!(gateway.shutdown(Duration::from_secs(20)).await);
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
    assert!(gateway.shutdown(Duration::from_secs(20)).await);
}
