//! Keys that are hot: one key with most of a topic's traffic makes one partition, and one consumer, do all the work.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, PoisonError};

use headgate_sdk::{Str, status::Status};

use super::RoutedRecord;

/// Keyed records of a topic that are judged together.
const WINDOW: u32 = 4096;
/// The most topics that are watched.
const MAX_TOPICS: usize = 1000;

/// Counts keys by topic, exactly, in windows of 4096 records; a share over the threshold is a warning on the sinks and in the
/// figure `headgate_route_hot_key_share` until a window is under it again. Shared by all lanes of a step.
pub struct HotKeys {
    percent: u8,
    sinks: Vec<Status>,
    hasher: RandomState,
    topics: Mutex<HashMap<Str, Window>>,
}

#[derive(Default)]
struct Window {
    records: u32,
    keys: HashMap<u64, u32>,
}

impl HotKeys {
    /// Warns at more than `percent` on the `sinks`, in the order of their indices.
    #[must_use]
    pub fn new(percent: u8, sinks: Vec<Status>) -> Self {
        Self {
            percent,
            sinks,
            hasher: RandomState::new(),
            topics: Mutex::default(),
        }
    }

    /// Whether this is its threshold.
    #[must_use]
    pub fn has_percent(&self, percent: u8) -> bool {
        self.percent == percent
    }

    /// Counts the keys of a batch.
    pub(super) fn see(&self, records: &[RoutedRecord]) {
        let mut topics = self.topics.lock().unwrap_or_else(PoisonError::into_inner);
        for routed in records {
            let Some(key) = &routed.record.key else {
                continue;
            };
            let topic = &routed.record.topic;
            if !topics.contains_key(topic) {
                if topics.len() == MAX_TOPICS {
                    continue;
                }
                topics.insert(topic.clone(), Window::default());
            }
            let Some(window) = topics.get_mut(topic) else {
                continue;
            };
            *window.keys.entry(self.hasher.hash_one(key)).or_default() += 1;
            window.records += 1;
            if window.records == WINDOW {
                self.judge(routed, std::mem::take(window));
            }
        }
    }

    fn judge(&self, last: &RoutedRecord, window: Window) {
        let topic = &last.record.topic;
        let most = window.keys.values().copied().max().unwrap_or(0);
        let share = f64::from(most) / f64::from(WINDOW);
        metrics::gauge!("headgate_route_hot_key_share", "topic" => topic.to_string()).set(share);
        let warning = format!("hot key in {topic}");
        for (index, status) in self.sinks.iter().enumerate() {
            if !last.sinks.contains(index) {
                continue;
            }
            if share * 100.0 > f64::from(self.percent) {
                let text = format!(
                    "one key has {:.0} % of the topic `{topic}`, so that one partition does most of the work; give the route a `key` that spreads",
                    share * 100.0
                );
                status.warn(&warning, text);
            } else {
                status.clear(&warning);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use headgate_sdk::{Data, Envelope, Timestamp};

    use super::super::SinkSet;
    use super::*;
    use crate::sink::Record;

    fn records(count: u32, key: impl Fn(u32) -> Option<String>) -> Vec<RoutedRecord> {
        let envelope = Envelope::new("1", "urn:s", "a.v1", Timestamp::UNIX_EPOCH, Data::none());
        (0..count)
            .map(|n| RoutedRecord {
                record: Record {
                    envelope: envelope.clone(),
                    topic: "orders".into(),
                    key: key(n).map(Str::from),
                    headers: Vec::new(),
                },
                sinks: SinkSet::of([1]),
            })
            .collect()
    }

    #[test]
    fn a_hot_key_warns_on_its_sinks_until_it_cools() {
        let sinks = vec![Status::default(), Status::default()];
        let hot = HotKeys::new(50, sinks.clone());
        let mostly_one = |n: u32| {
            Some(if n.is_multiple_of(4) {
                n.to_string()
            } else {
                "one".to_owned()
            })
        };
        hot.see(&records(WINDOW - 1, mostly_one));
        assert!(sinks[1].warnings().is_empty());
        hot.see(&records(1, mostly_one));
        assert!(sinks[0].warnings().is_empty());
        let warnings = sinks[1].warnings();
        assert!(
            warnings["hot key in orders"].starts_with("one key has 75 % of the topic `orders`"),
            "{warnings:?}"
        );
        hot.see(&records(WINDOW, |n| Some((n % 2).to_string())));
        assert!(sinks[1].warnings().is_empty());
    }

    #[test]
    fn records_without_a_key_spread_by_themselves() {
        let sinks = vec![Status::default(), Status::default()];
        let hot = HotKeys::new(50, sinks.clone());
        hot.see(&records(3 * WINDOW, |_| None));
        assert!(sinks[1].warnings().is_empty());
    }
}
