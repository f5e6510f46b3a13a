//! Brings the index of checkpoints and the topic to one state.
//!
//! The topic is the truth for every lane that it knows something newer of than the index has seen. For all others the index is
//! (another sink kept their checkpoints in between, or none has yet), and what the topic lacks of it is written there with the
//! claim. Where a person moved a lane, the index has the position, whatever the topic knows.

use std::collections::BTreeSet;

use bytes::Bytes;
use headgate_sdk::{Entry, LaneId, Str};

use super::{
    member::{Member, Owner, Seat},
    record::{entry_key, position_key},
    restore::{LaneState, Restored, digest},
};
use crate::{
    runtime::{CheckpointError, Checkpoints},
    sink::Checkpoint,
};

/// Entries read at once.
const PAGE: usize = 4096;

/// What is to be done.
#[derive(Default)]
pub(super) struct Plan {
    /// For the index.
    pub(super) index: Vec<(LaneId, Checkpoint)>,
    /// For the topic: keys and values.
    pub(super) topic: Vec<(String, Option<Bytes>)>,
}

/// Compares, and uses `restored` up. `mark` is the offset up to which the index has seen the topic. `None`: the index is not what the
/// topic said then, so that digests are not enough.
pub(super) fn reconcile(
    member: &Member,
    seat: &Seat,
    restored: &mut Restored,
    mark: Option<i64>,
) -> Result<Option<Plan>, CheckpointError> {
    let stored = member.checkpoints.lanes()?;
    let mut lanes: BTreeSet<LaneId> = restored.lanes.keys().cloned().collect();
    lanes.extend(
        stored
            .into_iter()
            .map(|stored| stored.lane)
            .filter(|lane| member.sits(lane, seat)),
    );
    let mut plan = Plan::default();
    for lane in lanes {
        let known = restored.lanes.remove(&lane);
        if !plan.add(&member.checkpoints, seat, lane, known, mark)? {
            return Ok(None);
        }
    }
    Ok(Some(plan))
}

impl Plan {
    /// Compares a lane. False: digests are not enough.
    fn add(
        &mut self,
        checkpoints: &Checkpoints,
        seat: &Seat,
        lane: LaneId,
        known: Option<LaneState>,
        mark: Option<i64>,
    ) -> Result<bool, CheckpointError> {
        let indexed = checkpoints.restored(&lane)?;
        let indexed = indexed.and_then(|stored| stored.position);
        let moved = indexed.is_some() && checkpoints.is_moved(&lane)?;
        let is_newer = match &known {
            None => false,
            Some(known) if Some(known.offset) > mark => true,
            Some(_) => indexed.is_none() && page(checkpoints, seat, &lane, None, 1)?.is_empty(),
        };
        let mut known = known.unwrap_or_default();

        let mut checkpoint = Checkpoint::default();
        if is_newer && !moved {
            checkpoint.position = known.position;
        } else if let Some(position) = indexed {
            if known.position.as_ref() != Some(&position) {
                let value = Bytes::copy_from_slice(position.as_json().as_bytes());
                let key = position_key(seat.owner.text(), &lane);
                self.topic.push((key, Some(value)));
            }
            // The same again: from here on nobody moved it.
            checkpoint.position = moved.then_some(position);
        }

        let owner = seat.owner.text();
        let mut after: Option<Str> = None;
        loop {
            let entries = page(checkpoints, seat, &lane, after.as_deref(), PAGE)?;
            let is_last = entries.len() < PAGE;
            after = entries.last().map(|(key, _)| key.clone());
            for (key, value) in entries {
                let old = known.old.remove(&digest(key.as_bytes()));
                let new = known.news.remove(&key);
                let is_known = new.is_some() || old.is_some();
                let is_same = match (&new, old) {
                    (Some(new), _) => *new == value,
                    (None, old) => old == Some(digest(&value)),
                };
                match (is_same, is_newer, new) {
                    (true, ..) => {}
                    (false, true, Some(new)) => checkpoint.entries.push(Entry::put(key, new)),
                    (false, true, None) if is_known => return Ok(false),
                    (false, true, None) => checkpoint.entries.push(Entry::remove(key)),
                    (false, false, _) => {
                        let key = entry_key(owner, &lane, &key);
                        self.topic.push((key, Some(value)));
                    }
                }
            }
            if is_last {
                break;
            }
        }
        if !known.old.is_empty() {
            return Ok(false);
        }
        for (key, value) in known.news {
            if is_newer {
                checkpoint.entries.push(Entry::put(key, value));
            } else {
                self.topic.push((entry_key(owner, &lane, &key), None));
            }
        }
        if !checkpoint.is_empty() {
            self.index.push((lane, checkpoint));
        }
        Ok(true)
    }
}

/// What the index has of a lane. The entries of journaled lanes come from the journal and are none of our business.
fn page(
    checkpoints: &Checkpoints,
    seat: &Seat,
    lane: &LaneId,
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<(Str, Bytes)>, CheckpointError> {
    match seat.owner {
        Owner::Group => checkpoints.entries(lane, "", after, limit),
        Owner::Instance(_) => Ok(Vec::new()),
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, num::NonZeroU16, sync::Arc};

    use futures::future::BoxFuture;
    use headgate_sdk::{DeadLetter, Position};

    use super::*;
    use crate::{
        pipeline::dead_letter::DeadLetterWriter,
        runtime::{Commit, Identity},
        sink::kafka::transaction::record::{Content, decode},
    };

    struct Nobody;

    impl DeadLetterWriter for Nobody {
        fn write(&self, _: Vec<DeadLetter>) -> BoxFuture<'static, ()> {
            Box::pin(std::future::ready(()))
        }
    }

    /// A lane's position and entries.
    type State = (Option<u64>, BTreeMap<String, String>);

    fn change(state: &mut State, random: &mut fastrand::Rng, n: u64) -> Vec<Entry> {
        state.0 = Some(n);
        let mut entries = Vec::new();
        for _ in 0..random.usize(0..4) {
            let key = format!("k{}", random.u8(0..8));
            let value = random.bool().then(|| format!("v{n}"));
            match &value {
                Some(value) => drop(state.1.insert(key.clone(), value.clone())),
                None => drop(state.1.remove(&key)),
            }
            let value = value.map(Bytes::from);
            let key = key.into();
            entries.push(Entry { key, value });
        }
        entries
    }

    fn contents(lane: &LaneId, n: u64, entries: &[Entry]) -> Vec<Content> {
        let entry = |entry: &Entry| {
            let Entry { key, value } = entry.clone();
            Content::Entry(lane.clone(), key, value)
        };
        let mut contents: Vec<_> = entries.iter().map(entry).collect();
        contents.push(Content::Position(lane.clone(), Position::encode(&n)));
        contents
    }

    fn indexed(checkpoints: &Checkpoints, lane: &LaneId) -> State {
        let stored = checkpoints.restored(lane).unwrap();
        let position = stored.and_then(|stored| stored.position);
        let entries = checkpoints.entries(lane, "", None, 100).unwrap();
        let text = |bytes: Bytes| String::from_utf8(bytes.to_vec()).unwrap();
        (
            position.map(|position| position.decode().unwrap()),
            entries
                .into_iter()
                .map(|(key, value)| (key.to_string(), text(value)))
                .collect(),
        )
    }

    /// Whatever the index missed of the topic, or got from elsewhere: afterwards both say the same, and it is what the newer said.
    #[tokio::test(flavor = "multi_thread")]
    async fn index_and_topic_say_the_same_afterwards() {
        let folder = tempfile::tempdir().unwrap();
        let mut random = fastrand::Rng::with_seed(7);
        let (mut from_digests, mut from_values) = (0, 0);
        let checkpoints = Checkpoints::open(&folder.path().join("index")).unwrap();
        for n in 0..150 {
            let lane = LaneId::from_stored(format!("lane{n}/"));
            let member = Member {
                group: "g".into(),
                identity: Identity {
                    format: 1,
                    instance: "one".into(),
                    shards: NonZeroU16::MIN,
                    key_id: None,
                },
                checkpoints: checkpoints.clone(),
                dead_letters: Arc::new(Nobody),
                lane_in_flight: 1,
            };
            let seat = Seat {
                owner: Owner::Group,
                shard: 0,
            };
            let commit = async |position: u64, entries: Vec<Entry>| {
                let checkpoint = Checkpoint {
                    position: Some(Position::encode(&position)),
                    entries,
                    ..Checkpoint::default()
                };
                let lane = lane.clone();
                let commit = Commit {
                    lane,
                    checkpoint,
                    mark: None,
                    done: None,
                };
                checkpoints.commit(commit).await;
            };
            // The topic; the index follows up to a mark.
            let mut topic = Vec::new();
            let mut expected = State::default();
            let followed = random.u64(0..6);
            let mut mark = None;
            for position in 0..random.u64(0..8) {
                let entries = change(&mut expected, &mut random, position);
                topic.extend(contents(&lane, position, &entries));
                if position < followed {
                    commit(position, entries).await;
                    mark = Some(topic.len() as i64 - 1);
                }
            }
            let is_newer = topic.len() as i64 - 1 > mark.unwrap_or(-1);
            // Somebody else kept the checkpoint for a while.
            if random.u8(0..3) == 0 && mark.is_some() {
                checkpoints.flush().await;
                let mut elsewhere = indexed(&checkpoints, &lane);
                let entries = change(&mut elsewhere, &mut random, 100);
                commit(100, entries).await;
                if !is_newer {
                    expected = elsewhere;
                }
            }
            checkpoints.flush().await;
            if random.u8(0..4) == 0 && indexed(&checkpoints, &lane).0.is_some() {
                checkpoints
                    .move_lane(&lane, &Position::encode(&200))
                    .unwrap();
                expected.0 = Some(200);
            }

            let restore = |known: Option<i64>| {
                let mut restored = Restored::after(known);
                for (offset, content) in topic.iter().enumerate() {
                    restored.apply(content.clone(), offset as i64);
                }
                restored
            };
            let plan = reconcile(&member, &seat, &mut restore(mark), mark).unwrap();
            let plan = match plan {
                Some(plan) => {
                    from_digests += 1;
                    plan
                }
                None => {
                    from_values += 1;
                    let all = reconcile(&member, &seat, &mut restore(None), mark).unwrap();
                    all.expect("values are enough")
                }
            };
            for (lane, checkpoint) in plan.index {
                let commit = Commit {
                    lane,
                    checkpoint,
                    mark: None,
                    done: None,
                };
                checkpoints.commit(commit).await;
            }
            checkpoints.flush().await;
            let mut restored = restore(None);
            for (key, value) in plan.topic {
                let content = decode("", key.as_bytes(), value.as_deref());
                // Those of the lanes of earlier rounds, which are in this index too.
                if key.contains(lane.as_str()) {
                    restored.apply(content.unwrap(), 1_000);
                }
            }
            assert_eq!(indexed(&checkpoints, &lane), expected, "round {n}");
            assert!(!checkpoints.is_moved(&lane).unwrap());
            let known = restored.lanes.remove(&lane).unwrap_or_default();
            let position = known.position.map(|position| position.decode().unwrap());
            let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).unwrap();
            let entries = known.news.iter();
            let entries = entries.map(|(key, value)| (key.to_string(), text(value)));
            assert_eq!((position, entries.collect()), expected, "round {n}");
        }
        assert!(
            from_digests > 100 && from_values > 0,
            "{from_digests} {from_values}"
        );
    }
}
