//! How urgent events are.

use schemars::JsonSchema;
use serde::Deserialize;

/// How urgent a source's events are, beside those of other sources, where a sink cannot take all of them at once. A lane is never
/// reordered inside.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// Sixteen parts: what somebody waits for.
    Urgent,
    /// Four parts.
    #[default]
    Normal,
    /// One part: what may take its time, such as first imports.
    Bulk,
}

impl Priority {
    pub(super) const ALL: [Self; Self::COUNT] = [Self::Urgent, Self::Normal, Self::Bulk];
    pub(super) const COUNT: usize = 3;

    /// The parts that it gets of what several want.
    #[must_use]
    pub const fn weight(self) -> u64 {
        match self {
            Self::Urgent => 16,
            Self::Normal => 4,
            Self::Bulk => 1,
        }
    }

    pub(super) const fn index(self) -> usize {
        self as usize
    }
}
