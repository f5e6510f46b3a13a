//! Which event types a step is for.

use headgate_sdk::{Str, pattern::matches};
use schemars::JsonSchema;
use serde::Deserialize;

/// Patterns of event types; `*` stands for any characters: `invoice.*`, `*.v1`. None at all: every type.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(from = "Vec<String>")]
#[schemars(with = "Vec<String>")]
pub struct Types(Vec<Str>);

impl Types {
    /// Whether the step is for events of this type.
    #[must_use]
    pub fn includes(&self, event_type: &str) -> bool {
        self.0.is_empty() || self.0.iter().any(|pattern| matches(pattern, event_type))
    }

    /// Whether the step is for every type because none is named.
    #[must_use]
    pub fn are_all(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether each type of `other` is one of these.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        // No pattern has a star as a character of its own: what stands for a star of the other one is a star of this one, which
        // stands for everything that the other may be.
        match (self.0.is_empty(), other.0.is_empty()) {
            (true, _) => true,
            (false, true) => self.includes("*"),
            (false, false) => other.0.iter().all(|pattern| self.includes(pattern)),
        }
    }
}

impl From<Vec<String>> for Types {
    fn from(patterns: Vec<String>) -> Self {
        Self(patterns.into_iter().map(Str::from).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_types() {
        for (pattern, matching, other) in [
            ("invoice.paid.v1", "invoice.paid.v1", "invoice.paid.v10"),
            ("invoice.*", "invoice.paid.v1", "xinvoice.paid.v1"),
            ("*.v1", "a.v1", "a.v2"),
            ("a*b*c", "axbxc", "axcxb"),
            ("a*a", "aba", "a"),
            ("*", "anything", ""),
        ] {
            assert!(
                Types::from(vec![pattern.to_owned()]).includes(matching),
                "{pattern} {matching}"
            );
            if pattern != "*" {
                assert!(
                    !Types::from(vec![pattern.to_owned()]).includes(other),
                    "{pattern} {other}"
                );
            }
        }
        assert!(Types::default().includes("a"));
    }

    #[test]
    fn patterns_cover_patterns() {
        let types = |patterns: &[&str]| {
            Types::from(patterns.iter().map(|&p| p.to_owned()).collect::<Vec<_>>())
        };
        for (wide, narrow) in [
            (&[][..], &["a"][..]),
            (&[], &[]),
            (&["*"], &[]),
            (&["a", "*"], &["b", "c.*"]),
            (&["invoice.*"], &["invoice.paid.v1"]),
            (&["invoice.*"], &["invoice.paid.*", "invoice.*.v1"]),
            (&["a", "b"], &["b", "a"]),
        ] {
            assert!(types(wide).covers(&types(narrow)), "{wide:?} {narrow:?}");
        }
        for (narrow, wide) in [
            (&["a"][..], &[][..]),
            (&["*.v1"], &[]),
            (&["invoice.paid.v1"], &["invoice.*"]),
            (&["invoice.*.v1"], &["invoice.*"]),
            (&["a"], &["a", "b"]),
        ] {
            assert!(!types(narrow).covers(&types(wide)), "{narrow:?} {wide:?}");
        }
    }
}
