use futures::FutureExt;

use std::{
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use headgate_sdk::{Data, Envelope, LaneId, Timestamp};
use parking_lot::Mutex;
use tokio::task::unconstrained;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::{Layer, Service, ServiceExt};

use super::{Priority, Room, Share, ShareLayer, room::KEPT_FREE};
use crate::pipeline::{
    retry::RetryLayer,
    tests::{plan, scripted::ScriptedSink},
};
use crate::sink::{Accepted, Outcome, Record, SinkBatch, SinkError};

const MIB: usize = 1 << 20;

/// Takes room until there is none; each batch has 64 KiB.
async fn take_all(share: &Share, priority: Priority) -> Vec<Room> {
    let mut taken = Vec::new();
    while let Some(mut room) = unconstrained(share.room(priority)).now_or_never() {
        room.fill(MIB / 16);
        taken.push(room);
    }
    taken
}

#[tokio::test(start_paused = true)]
async fn a_class_alone_has_all_and_beside_others_its_part() {
    let share = Share::new(21 * MIB);
    let bulk = take_all(&share, Priority::Bulk).await;
    assert_eq!(bulk.len(), 21 * 16);
    // Others who come have their parts at once, although there is no room left.
    let urgent = take_all(&share, Priority::Urgent).await;
    assert_eq!(urgent.len(), (21 * 16 * 16_usize).div_ceil(17));
    let normal = take_all(&share, Priority::Normal).await;
    assert_eq!(normal.len(), 4 * 16);
    // What bulk gives back it has not again until it is down to its own part.
    drop(bulk);
    let mut again = take_all(&share, Priority::Bulk).await;
    assert_eq!(again.len(), 16);
    again.pop();
    assert_eq!(take_all(&share, Priority::Bulk).await.len(), 1);
    // Alone again.
    drop((urgent, normal));
    tokio::time::advance(KEPT_FREE).await;
    assert_eq!(take_all(&share, Priority::Bulk).await.len(), 21 * 16 - 15);
}

#[tokio::test]
async fn whoever_waits_is_called_in_order_and_whoever_stops_waiting_holds_nobody_up() {
    let share = Share::new(1);
    let held = share.room(Priority::Normal).await;
    let mut waiting: Vec<_> = (0..4)
        .map(|_| Box::pin(share.room(Priority::Normal)))
        .collect();
    for waiting in &mut waiting {
        assert!(waiting.now_or_never().is_none());
    }
    // One goes away while it waits, one after it was called.
    drop(waiting.remove(0));
    drop(held);
    drop(waiting.remove(0));
    let room = waiting.remove(0).await;
    assert!((&mut waiting[0]).now_or_never().is_none());
    drop(room);
    drop(waiting.remove(0).await);
    // A batch larger than all of the room goes alone.
    let mut large = share.room(Priority::Bulk).await;
    large.fill(10 * MIB);
    assert!(share.room(Priority::Bulk).now_or_never().is_none());
    drop(large);
    assert!(share.room(Priority::Bulk).now_or_never().is_some());
}

/// A sink that needs a millisecond for a batch, however many are under way, and notes whose they are.
#[derive(Clone, Default)]
struct Slow(Arc<Mutex<Vec<LaneId>>>);

impl Service<Arc<SinkBatch>> for Slow {
    type Response = Accepted;
    type Error = SinkError;
    type Future = std::future::Ready<Result<Accepted, SinkError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), SinkError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, batch: Arc<SinkBatch>) -> Self::Future {
        self.0.lock().push(batch.lane.clone());
        std::future::ready(Ok(Accepted::future(async {
            tokio::time::sleep(Duration::from_millis(1)).await;
            Outcome::Durable
        })))
    }
}

fn sink_batch(lane: &LaneId, number: u64) -> Arc<SinkBatch> {
    let data = Data::json(format!("\"{}\"", "x".repeat(10_000)));
    let envelope = Envelope::new("1", "urn:s", "a.v1", Timestamp::UNIX_EPOCH, data);
    Arc::new(SinkBatch {
        lane: lane.clone(),
        number,
        records: vec![Record {
            envelope,
            topic: "t".into(),
            key: None,
            headers: Vec::new(),
        }],
        dead_letters: Vec::new(),
        checkpoint: None,
        landed: crate::sink::Notes::default(),
    })
}

/// Lanes as they are in the gateway: behind their retries, each asks for its next batch only.
#[tokio::test(start_paused = true)]
async fn an_urgent_lane_passes_a_bulk_lane_that_was_there_first() {
    let (slow, share, tasks) = (Slow::default(), Share::new(200_000), TaskTracker::new());
    let breaker = plan(&ScriptedSink::new("main", []), true).breaker;
    let send = |name: &'static str, priority: Priority, count: u64| {
        let abandon = CancellationToken::new();
        let retry = RetryLayer::new(Arc::clone(&breaker), None, tasks.clone(), abandon);
        let way = ShareLayer::new(share.clone(), priority).layer(slow.clone());
        let mut way = retry.layer(way);
        tokio::spawn(async move {
            let lane = LaneId::from_stored(name);
            let mut outcomes = Vec::new();
            for number in 1..=count {
                let ready = way.ready().await.unwrap();
                outcomes.push(ready.call(sink_batch(&lane, number)).await.unwrap());
            }
            for outcome in outcomes {
                assert!(matches!(outcome.await, Outcome::Durable));
            }
        })
    };
    let bulk = send("bulk", Priority::Bulk, 400);
    tokio::time::sleep(Duration::from_millis(5)).await;
    let before = slow.0.lock().len();
    assert!(before > 0, "bulk has all of it while nobody else wants any");
    send("urgent", Priority::Urgent, 160).await.unwrap();
    let written = slow.0.lock()[before..].to_vec();
    let bulk_meanwhile = written
        .iter()
        .filter(|lane| lane.as_str() == "bulk")
        .count();
    assert!(
        (5..=40).contains(&bulk_meanwhile),
        "bulk got {bulk_meanwhile} of {} while 160 urgent ones went",
        written.len()
    );
    bulk.await.unwrap();
    assert_eq!(slow.0.lock().len(), 560);
}
