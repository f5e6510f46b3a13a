//! Where a source resumes, and on which timeline a place in the log was written.

use headgate_sdk::Position;
use serde::{Deserialize, Serialize};

use crate::lsn::Lsn;

/// A place between two messages of the slot's stream.
///
/// Everything that committed before `lsn` is done, and of the transaction whose commit record is at `lsn` the first `ordinal`
/// messages. A message's own LSN is never a position: rows share them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StreamPosition {
    /// The cluster's system identifier.
    pub(crate) system: String,
    /// The timeline that `lsn` was written on.
    pub(crate) timeline: u32,
    pub(crate) lsn: Lsn,
    #[serde(default)]
    pub(crate) ordinal: u64,
    /// What the slot may be told once this is durable: never inside a transaction.
    pub(crate) confirm: Lsn,
}

impl StreamPosition {
    /// The SDK's form.
    pub(crate) fn encode(&self) -> Position {
        Position::encode(self)
    }
}

/// The timelines that a server went through.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Timelines {
    /// (timeline, where it ended), oldest first.
    past: Vec<(u32, Lsn)>,
    now: u32,
}

impl Timelines {
    pub(crate) fn new(past: Vec<(u32, Lsn)>, now: u32) -> Self {
        Self { past, now }
    }

    /// The timeline on which the record at `lsn` was written.
    pub(crate) fn of(&self, lsn: Lsn) -> u32 {
        self.past
            .iter()
            .find(|(_, end)| lsn < *end)
            .map_or(self.now, |(timeline, _)| *timeline)
    }

    /// Whether the log up to `lsn` on `timeline` is part of this server's past.
    pub(crate) fn contain(&self, timeline: u32, lsn: Lsn) -> bool {
        timeline == self.now
            || self
                .past
                .iter()
                .any(|(past, end)| *past == timeline && lsn <= *end)
    }

    pub(crate) fn now(&self) -> u32 {
        self.now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_belongs_to_the_timeline_that_wrote_it() {
        let timelines = Timelines::new(vec![(1, Lsn(100)), (2, Lsn(200))], 3);
        assert_eq!(
            [99, 100, 199, 200].map(|lsn| timelines.of(Lsn(lsn))),
            [1, 2, 2, 3]
        );
        assert!(timelines.contain(1, Lsn(100)));
        assert!(!timelines.contain(1, Lsn(101)));
        assert!(timelines.contain(3, Lsn(500)));
        assert!(!timelines.contain(4, Lsn(50)));
    }

    #[test]
    fn positions_come_back() {
        let position = StreamPosition {
            system: "7".into(),
            timeline: 1,
            lsn: Lsn(0x1_0000_00FF),
            ordinal: 3,
            confirm: Lsn(0x1_0000_0000),
        };
        insta::assert_snapshot!(position.encode().as_json(), @r#"{"system":"7","timeline":1,"lsn":"1/FF","ordinal":3,"confirm":"1/0"}"#);
        assert_eq!(
            position.encode().decode::<StreamPosition>().unwrap(),
            position
        );
    }
}
