//! The last line of a file that grows: without a line end it is no record yet, unless the file stood still for long enough.
//!
//! Memory: one entry for each file whose last line waits. Losing them costs a wait, never a record: after a restart every file is read
//! on, and found to end so again.

use std::{collections::HashMap, time::Instant};

use super::engine::Engine;
use crate::{stamp::Stamp, watch::Key};

/// Last lines that wait for their end.
#[derive(Debug, Default, Clone)]
pub(super) struct Tails {
    waiting: HashMap<Key, (Instant, Stamp)>,
    /// Whose time is over: the next reading takes the last line too, if the file is still the same.
    over: HashMap<Key, Stamp>,
}

impl Tails {
    /// A reading came to the end of a file as it is under `stamp`. `until`: its last line has no end, and may wait so long.
    pub(super) fn read(&mut self, key: &Key, stamp: Stamp, until: Option<Instant>) {
        match (until, self.waiting.get(key)) {
            // Read again without having changed: it waits on.
            (Some(_), Some((_, known))) if *known == stamp => {}
            (Some(until), _) => {
                self.waiting.insert(key.clone(), (until, stamp));
            }
            (None, _) => {
                self.waiting.remove(key);
            }
        }
    }

    /// Takes the files whose time is over.
    fn take_due(&mut self, now: Instant) -> Vec<(Key, Stamp)> {
        let due: Vec<_> = self
            .waiting
            .extract_if(|_, (until, _)| *until <= now)
            .map(|(key, (_, stamp))| (key, stamp))
            .collect();
        self.over.extend(due.iter().cloned());
        due
    }

    /// Whether a reading that starts now is to take the last line, and of which version.
    pub(super) fn take_over(&mut self, key: &Key) -> Option<Stamp> {
        self.over.remove(key)
    }
}

impl Engine {
    /// Has files read again whose last line waited long enough.
    pub(super) fn end_last_lines(&mut self, now: Instant) {
        let Some(growing) = &mut self.growing else {
            return;
        };
        for (key, stamp) in growing.tails.take_due(now) {
            self.index.forget(&key);
            self.tracker.found(&key, stamp, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{path::Path, time::Duration};

    use super::*;

    #[test]
    fn a_line_waits_from_when_the_file_last_changed() {
        let key = Key::new(0, Path::new("a"));
        let stamp = |size| Stamp {
            inode: 1,
            size,
            modified: 0,
            changed: 0,
        };
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut tails = Tails::default();
        tails.read(&key, stamp(1), Some(after(5)));
        // Looked at again, and unchanged; then changed.
        tails.read(&key, stamp(1), Some(after(8)));
        assert!(tails.clone().take_due(after(4)).is_empty());
        assert_eq!(tails.clone().take_due(after(5)), [(key.clone(), stamp(1))]);
        tails.read(&key, stamp(2), Some(after(9)));
        assert!(tails.take_due(after(8)).is_empty());
        assert_eq!(tails.take_over(&key), None);
        assert_eq!(tails.take_due(after(9)), [(key.clone(), stamp(2))]);
        assert_eq!(tails.take_over(&key), Some(stamp(2)));
        assert_eq!(tails.take_over(&key), None);
        tails.read(&key, stamp(3), Some(after(12)));
        tails.read(&key, stamp(4), None);
        assert!(tails.take_due(after(20)).is_empty());
    }
}
