//! What was accepted, what was found, and what is wrong with it.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
    time::Instant,
};

use serde_json::Value;

use crate::support::{
    consumer,
    gateway::{DEADLINE, Running},
};

/// What sources were told is safe: the numbers of each key. A key begins with its source: `w`, `f` or `p`.
#[derive(Debug, Default, Clone)]
pub(super) struct Accepted {
    pub(super) keys: BTreeMap<String, BTreeSet<u64>>,
    pub(super) deaths: BTreeMap<String, u64>,
    pub(super) rounds: u64,
}

/// An event at the sink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) key: String,
    pub(super) number: u64,
}

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Figures {
    pub(super) lost: usize,
    pub(super) twice: usize,
    pub(super) out_of_order: usize,
    delivered: usize,
    /// Duplicates by source.
    by_source: BTreeMap<char, usize>,
}

impl Accepted {
    pub(super) fn add(&mut self, key: &str, number: u64) {
        self.keys.entry(key.to_owned()).or_default().insert(number);
    }

    /// How many a source was told are safe.
    pub(super) fn of(&self, source: char) -> usize {
        let keys = self.keys.iter();
        keys.filter(|(key, _)| key.starts_with(source))
            .map(|(_, numbers)| numbers.len())
            .sum()
    }

    /// Too little proves nothing.
    pub(super) fn is_enough(&self) {
        for source in ['w', 'f', 'p'] {
            assert!(
                self.of(source) > 100,
                "only {} of source {source}",
                self.of(source)
            );
        }
    }
}

impl fmt::Display for Accepted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rounds={}", self.rounds)?;
        for (death, times) in &self.deaths {
            write!(f, " {death}={times}")?;
        }
        write!(
            f,
            " accepted=webhook:{},files:{},postgres:{}",
            self.of('w'),
            self.of('f'),
            self.of('p')
        )
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "delivered={} lost={} duplicates={} {:?} out_of_order={}",
            self.delivered, self.lost, self.twice, self.by_source, self.out_of_order
        )
    }
}

impl Found {
    fn of_data(data: &Value) -> Option<Self> {
        let data = data.get("after").unwrap_or(data);
        Some(Self {
            key: data.get("key")?.as_str()?.to_owned(),
            number: data.get("number")?.as_u64()?,
        })
    }

    pub(super) fn of_line(event: &Value) -> Option<Self> {
        Self::of_data(event.get("data")?)
    }

    pub(super) fn of_record(record: &consumer::Found) -> Option<Self> {
        let found = Self::of_data(&serde_json::from_slice(record.value.as_ref()?).ok()?)?;
        assert_eq!(record.key.as_ref(), Some(&found.key));
        Some(found)
    }
}

/// Reads again and again until everything accepted is there.
pub(super) async fn wait_for(
    accepted: &Accepted,
    running: &Running,
    read: impl Fn() -> Vec<Found>,
) -> Vec<Found> {
    let started = Instant::now();
    loop {
        let found = tokio::task::block_in_place(&read);
        let lost = lost(accepted, &found);
        if lost.is_empty() {
            return found;
        }
        if started.elapsed() > DEADLINE {
            let state = super::state(running).await;
            panic!(
                "{} are lost: {:?}; {state}",
                lost.len(),
                &lost[..lost.len().min(20)]
            );
        }
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    }
}

fn lost(accepted: &Accepted, found: &[Found]) -> Vec<(String, u64)> {
    let mut there: HashMap<&str, BTreeSet<u64>> = HashMap::new();
    for found in found {
        there.entry(&found.key).or_default().insert(found.number);
    }
    let nothing = BTreeSet::new();
    let keys = accepted.keys.iter();
    keys.flat_map(|(key, numbers)| {
        let there = there.get(key.as_str()).unwrap_or(&nothing);
        numbers
            .difference(there)
            .map(|number| (key.clone(), *number))
    })
    .collect()
}

/// Compares what was accepted with everything that was found, in the order of the sink.
pub(super) fn audit(accepted: &Accepted, found: &[Found]) -> Figures {
    let mut figures = Figures {
        lost: lost(accepted, found).len(),
        delivered: found.len(),
        ..Figures::default()
    };
    let mut seen: HashMap<&str, BTreeSet<u64>> = HashMap::new();
    for found in found {
        let seen = seen.entry(&found.key).or_default();
        if seen.contains(&found.number) {
            figures.twice += 1;
            let source = found.key.chars().next().unwrap_or_default();
            *figures.by_source.entry(source).or_default() += 1;
            continue;
        }
        if seen.last().is_some_and(|last| *last > found.number) {
            figures.out_of_order += 1;
        }
        seen.insert(found.number);
    }
    figures
}

#[test]
fn the_audit_finds_what_is_wrong() {
    let mut accepted = Accepted::default();
    (0..5).for_each(|number| accepted.add("w1", number));
    let found = |numbers: &[u64]| -> Vec<Found> {
        let found = numbers.iter().map(|number| Found {
            key: "w1".to_owned(),
            number: *number,
        });
        found.collect()
    };
    let figures = |numbers: &[u64]| {
        let figures = audit(&accepted, &found(numbers));
        (figures.lost, figures.twice, figures.out_of_order)
    };
    assert_eq!(figures(&[0, 1, 2, 3, 4]), (0, 0, 0));
    assert_eq!(figures(&[0, 1, 2, 4]), (1, 0, 0));
    assert_eq!(figures(&[0, 1, 2, 1, 2, 3, 4]), (0, 2, 0));
    assert_eq!(figures(&[0, 2, 1, 3, 4]), (0, 0, 1));
    assert_eq!(
        figures(&[0, 1, 2, 3, 4, 5]),
        (0, 0, 0),
        "5 was written, and nobody told"
    );
}
