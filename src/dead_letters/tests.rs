//! How the store behaves.

use headgate_sdk::{Data, DeadLetter, Envelope, Timestamp};

use super::{DeadLetterStore, Filter, Kept, Resolution};
use crate::pipeline::dead_letter::DeadLetterWriter;

const SEGMENT_BYTES: u64 = 32 << 10;
const MAX_BYTES: u64 = 10 << 20;

fn letter(n: u64, source: &str, reason: &str) -> DeadLetter {
    let envelope = Envelope::new(
        format!("e{n}"),
        format!("urn:headgate:default:webhook:{source}"),
        "a.b.v1",
        Timestamp::UNIX_EPOCH,
        Data::opaque(vec![7; 500]),
    );
    DeadLetter {
        place: Some("line 3".into()),
        ..DeadLetter::new(envelope, "filter", reason, "mend it")
    }
}

async fn all(store: &DeadLetterStore) -> Vec<Kept> {
    store.list(&Filter::default(), 0, usize::MAX).await.unwrap()
}

fn ids(kept: &[Kept]) -> Vec<&str> {
    kept.iter()
        .map(|kept| kept.letter.envelope.id.as_str())
        .collect()
}

#[tokio::test]
async fn a_letter_stays_whole_until_it_is_resolved_also_over_restarts() {
    let dir = tempfile::tempdir().unwrap();
    {
        let store = DeadLetterStore::open_with(dir.path(), MAX_BYTES, SEGMENT_BYTES).unwrap();
        store
            .write((1..=5).map(|n| letter(n, "shop", "malformed")).collect())
            .await;
        let kept = all(&store).await;
        assert_eq!(ids(&kept), ["e1", "e2", "e3", "e4", "e5"]);
        let (found, written) = (&kept[0].letter, letter(1, "shop", "malformed"));
        assert_eq!(found.envelope, written.envelope);
        assert_eq!(
            (&found.step, &found.reason, &found.message),
            (&written.step, &written.reason, &written.message)
        );
        assert_eq!(found.place, written.place);
        assert_eq!(
            store
                .resolve(&kept[..2], Resolution::Retried)
                .await
                .unwrap(),
            2
        );
        assert_eq!(
            store
                .resolve(&kept[1..3], Resolution::Discarded)
                .await
                .unwrap(),
            1,
            "one was resolved already"
        );
        assert_eq!(ids(&all(&store).await), ["e4", "e5"]);
        assert!(store.get(kept[0].position).await.unwrap().is_none());
        assert_eq!(
            store
                .get(kept[4].position)
                .await
                .unwrap()
                .unwrap()
                .letter
                .envelope
                .id,
            "e5"
        );
    }
    let store = DeadLetterStore::open_with(dir.path(), MAX_BYTES, SEGMENT_BYTES).unwrap();
    assert_eq!(ids(&all(&store).await), ["e4", "e5"]);
    assert_eq!(store.stats().letters, 2);
    let audit = std::fs::read_to_string(dir.path().join("audit.jsonl")).unwrap();
    let line: serde_json::Value = serde_json::from_str(audit.trim()).unwrap();
    assert_eq!(
        (&line["id"], &line["reason"]),
        (&"e3".into(), &"malformed".into())
    );
}

#[tokio::test]
async fn a_letter_that_comes_again_takes_the_place_of_the_one_before() {
    let dir = tempfile::tempdir().unwrap();
    let store = DeadLetterStore::open_with(dir.path(), MAX_BYTES, SEGMENT_BYTES).unwrap();
    store
        .write(vec![letter(1, "shop", "first"), letter(2, "shop", "x")])
        .await;
    store.write(vec![letter(1, "shop", "second")]).await;
    let kept = all(&store).await;
    assert_eq!(ids(&kept), ["e2", "e1"]);
    assert_eq!(kept[1].letter.reason, "second");
}

#[tokio::test]
async fn filters_and_pages_choose() {
    let dir = tempfile::tempdir().unwrap();
    let store = DeadLetterStore::open_with(dir.path(), MAX_BYTES, SEGMENT_BYTES).unwrap();
    let letters = (0..20).map(|n| {
        letter(
            n,
            if n % 2 == 0 { "shop" } else { "crm" },
            if n < 10 { "a" } else { "b" },
        )
    });
    store.write(letters.collect()).await;
    let count = async |filter: Filter| store.list(&filter, 0, 100).await.unwrap().len();
    assert_eq!(
        count(Filter {
            source: Some("shop".into()),
            ..Filter::default()
        })
        .await,
        10
    );
    let urn = Some("urn:headgate:default:webhook:crm".to_owned());
    assert_eq!(
        count(Filter {
            source: urn,
            reason: Some("b".into()),
            ..Filter::default()
        })
        .await,
        5
    );
    assert_eq!(
        count(Filter {
            event_type: Some("a.*".into()),
            ..Filter::default()
        })
        .await,
        20
    );
    assert_eq!(
        count(Filter {
            event_type: Some("b.*".into()),
            ..Filter::default()
        })
        .await,
        0
    );
    assert_eq!(
        count(Filter {
            step: Some("route".into()),
            ..Filter::default()
        })
        .await,
        0
    );
    assert_eq!(
        count(Filter {
            until: Some(Timestamp::UNIX_EPOCH),
            ..Filter::default()
        })
        .await,
        0
    );
    assert_eq!(
        count(Filter {
            since: Some(Timestamp::UNIX_EPOCH),
            ..Filter::default()
        })
        .await,
        20
    );
    let first = store.list(&Filter::default(), 0, 7).await.unwrap();
    let rest = store
        .list(&Filter::default(), first[6].position, 100)
        .await
        .unwrap();
    assert_eq!((first.len(), rest.len()), (7, 13));
}

#[tokio::test]
async fn what_is_resolved_gives_its_room_back() {
    let dir = tempfile::tempdir().unwrap();
    let store = DeadLetterStore::open_with(dir.path(), MAX_BYTES, SEGMENT_BYTES).unwrap();
    for round in 0..20 {
        store
            .write(
                (0..20)
                    .map(|n| letter(round * 100 + n, "shop", "x"))
                    .collect(),
            )
            .await;
        let kept = all(&store).await;
        assert_eq!(kept.len(), 20);
        store.resolve(&kept, Resolution::Retried).await.unwrap();
    }
    while store.stats().bytes > 2 * SEGMENT_BYTES {
        tokio::task::yield_now().await;
    }
    assert_eq!(store.stats().letters, 0);
}

#[tokio::test]
async fn one_letter_that_nobody_resolves_does_not_hold_what_came_after_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = DeadLetterStore::open_with(dir.path(), MAX_BYTES, SEGMENT_BYTES).unwrap();
    store.write(vec![letter(0, "shop", "stays")]).await;
    let stays = all(&store).await[0].position;
    for round in 1..=50 {
        let letters = (0..20).map(|n| letter(round * 100 + n, "shop", "x"));
        store.write(letters.collect()).await;
        let kept = store.list(&Filter::default(), stays, 100).await.unwrap();
        assert_eq!(kept.len(), 20);
        store.resolve(&kept, Resolution::Retried).await.unwrap();
    }
    while store.stats().bytes > 6 * SEGMENT_BYTES {
        tokio::task::yield_now().await;
    }
    let kept = store.get(stays).await.unwrap().unwrap();
    assert_eq!(kept.letter.envelope.id, "e0");

    // Also after a restart, and what was resolved does not come back.
    drop(store);
    let store = DeadLetterStore::open_with(dir.path(), MAX_BYTES, SEGMENT_BYTES).unwrap();
    let kept = all(&store).await;
    assert_eq!((ids(&kept), kept[0].position), (vec!["e0"], stays));
    store.resolve(&kept, Resolution::Discarded).await.unwrap();
    drop(store);
    let store = DeadLetterStore::open_with(dir.path(), MAX_BYTES, SEGMENT_BYTES).unwrap();
    assert!(all(&store).await.is_empty());
}

#[tokio::test]
async fn whatever_is_resolved_written_again_or_moved_the_same_letters_are_live_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut expected = std::collections::BTreeMap::new();
    let mut random = fastrand::Rng::with_seed(7);
    for _restart in 0..5 {
        let store = DeadLetterStore::open_with(dir.path(), MAX_BYTES, SEGMENT_BYTES).unwrap();
        for round in 0..30 {
            for _ in 0..4 {
                let n = random.u64(..60);
                let reason = format!("r{round}-{}", random.u64(..));
                store.write(vec![letter(n, "shop", &reason)]).await;
                expected.insert(format!("e{n}"), reason);
            }
            let kept = all(&store).await;
            let chosen: Vec<_> = kept.into_iter().filter(|_| random.u8(..8) == 0).collect();
            store.resolve(&chosen, Resolution::Retried).await.unwrap();
            for gone in ids(&chosen) {
                expected.remove(gone);
            }
        }
        let found: std::collections::BTreeMap<_, _> = all(&store)
            .await
            .into_iter()
            .map(|kept| {
                (
                    kept.letter.envelope.id.to_string(),
                    kept.letter.reason.to_string(),
                )
            })
            .collect();
        assert_eq!(found, expected);
        assert!(
            store.stats().bytes <= 8 * SEGMENT_BYTES,
            "{:?}",
            store.stats()
        );
    }
}

#[tokio::test]
async fn data_that_is_too_large_for_the_log_lies_apart_until_its_letter_is_resolved() {
    let dir = tempfile::tempdir().unwrap();
    let data: Vec<u8> = (0..3_000_000_u32).map(|n| n as u8).collect();
    let mut large = letter(1, "shop", "too_large");
    large.envelope.data = Data::opaque(data.clone());
    let whole = large.envelope.clone();
    let files = || std::fs::read_dir(dir.path().join("data")).unwrap().count();
    {
        let store = DeadLetterStore::open_with(dir.path(), MAX_BYTES, SEGMENT_BYTES).unwrap();
        store.write(vec![large, letter(2, "shop", "x")]).await;
    }
    std::fs::write(dir.path().join("data/left-by-a-crash"), "x").unwrap();
    let store = DeadLetterStore::open_with(dir.path(), MAX_BYTES, SEGMENT_BYTES).unwrap();
    assert_eq!(files(), 1);
    let kept = all(&store).await;
    assert_eq!(kept[0].letter.envelope.data.len(), 0);
    assert!(kept[0].apart.as_ref().unwrap().is_file());
    assert_eq!(store.whole(&kept[0]).await.unwrap().envelope, whole);
    assert!(store.stats().bytes > 3_000_000);
    store
        .resolve(&kept[..1], Resolution::Retried)
        .await
        .unwrap();
    while files() > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_full_store_drops_nothing_and_whoever_has_another_letter_waits() {
    let dir = tempfile::tempdir().unwrap();
    let store = DeadLetterStore::open_with(dir.path(), 100_000, SEGMENT_BYTES).unwrap();
    let writing = {
        let store = store.clone();
        let letters = (0..300).map(|n| letter(n, "shop", "x")).collect();
        tokio::spawn(async move { store.write(letters).await })
    };
    // Eight come at once.
    while store.has_room(8 * 500) {
        tokio::task::yield_now().await;
    }
    let mut seen = std::collections::BTreeSet::new();
    while seen.len() < 300 {
        let kept = all(&store).await;
        assert!(kept.len() < 200, "it is bounded: {}", kept.len());
        assert!(!writing.is_finished() || seen.len() + kept.len() == 300);
        seen.extend(ids(&kept).into_iter().map(ToOwned::to_owned));
        store.resolve(&kept, Resolution::Retried).await.unwrap();
        tokio::task::yield_now().await;
    }
    writing.await.unwrap();
}

/// Kafka's transactions make letters durable first, and the layer in front of the sink writes them again.
#[test]
fn a_letter_that_comes_again_is_counted_once() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    let figures = recorder.handle();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let write = async {
        let store = DeadLetterStore::open_with(dir.path(), MAX_BYTES, SEGMENT_BYTES).unwrap();
        for _ in 0..2 {
            let letters = (1..=3).map(|n| letter(n, "shop", "malformed"));
            store.write(letters.collect()).await;
        }
        let kept = all(&store).await;
        store.resolve(&kept, Resolution::Retried).await.unwrap();
        // Failed again: another one.
        store.write(vec![letter(1, "shop", "malformed")]).await;
    };
    metrics::with_local_recorder(&recorder, || runtime.block_on(write));
    let figures = figures.render();
    let counted = figures
        .lines()
        .find(|line| line.starts_with("headgate_dead_letters_total{"));
    assert!(counted.unwrap().ends_with("} 4"), "{figures}");
}
