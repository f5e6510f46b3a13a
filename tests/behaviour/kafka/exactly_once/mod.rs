//! Exactly once, as a consumer sees it that reads what is committed.

mod boundaries;
mod faults;
mod fencing;
mod gateways;
mod parts;
mod refused;
mod restart;

use std::{num::NonZeroU16, sync::Arc};

use headgate::{
    runtime::{Checkpoints, Identity},
    sink::{
        Sink as _,
        kafka::{Config, Delivery, KafkaSink, Member},
    },
};
use headgate_sdk::{LaneId, Str};

use crate::support::{
    figures::Figures,
    gateway::DEADLINE,
    unique,
    way::{Letters, Way},
};

/// A gateway's end of things: who it is, its index of checkpoints, its dead letters.
struct Place {
    _folder: tempfile::TempDir,
    /// Of its sink.
    name: Str,
    member: Member,
    letters: Arc<Letters>,
}

impl Place {
    /// A fresh `data_dir` of the instance `one` in `group`, with one shard.
    fn new(group: &str) -> Self {
        Self::of("one", group, 1)
    }

    fn of(instance: &str, group: &str, shards: u16) -> Self {
        // Shown with the output of a test that fails.
        let _once_for_all_tests = tracing_subscriber::fmt().with_test_writer().try_init();
        let folder = tempfile::tempdir().unwrap();
        let checkpoints = Checkpoints::open(&folder.path().join("checkpoints.redb")).unwrap();
        let letters = Arc::new(Letters::default());
        let member = Member {
            group: group.into(),
            identity: Identity {
                format: 1,
                instance: instance.into(),
                shards: NonZeroU16::new(shards).unwrap(),
                key_id: None,
            },
            checkpoints,
            dead_letters: letters.writer(),
            lane_in_flight: 64 << 20,
        };
        Self {
            _folder: folder,
            name: unique("sink").into(),
            member,
            letters,
        }
    }

    fn sink(&self, config: Config) -> Arc<KafkaSink> {
        Figures::count();
        let (name, member) = (self.name.clone(), self.member.clone());
        Arc::new(KafkaSink::transactional(name, config, member).unwrap())
    }

    /// Where a lane resumes, after the sink has prepared it as for a lane that opens.
    async fn resumes(&self, sink: &KafkaSink, lane: &str) -> u64 {
        let lane = LaneId::from_stored(lane);
        within(sink.prepare(&lane, 0)).await.unwrap();
        self.position(&lane).await
    }

    async fn position(&self, lane: &LaneId) -> u64 {
        self.member.checkpoints.flush().await;
        let stored = self.member.checkpoints.restored(lane).unwrap();
        let position = stored.and_then(|stored| stored.position);
        position.map_or(0, |position| position.decode().unwrap())
    }
}

fn config(brokers: &str) -> Config {
    let mut config = Config::new(brokers);
    config.delivery = Delivery::ExactlyOnce;
    config
}

fn group() -> String {
    unique("group")
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future)
        .await
        .expect("within the deadline")
}

/// A batch of ten numbers, and the position behind it.
async fn send_ten(way: &mut Way, from: u64) -> headgate::sink::Accepted {
    let events = (from..from + 10).map(crate::support::way::numbered);
    way.send_at(events.collect(), from + 10, false).await
}
