//! Route: decides topic, key, headers and sinks of each event.
//!
//! The step turns envelopes into [records](crate::sink::Record); behind it, events have destinations.

mod config;
mod hot_keys;
mod layer;
mod routed;
mod router;
mod service;
mod template;
#[cfg(test)]
mod tests;

pub use config::{Config, Matching, Rule, Unmatched};
pub use hot_keys::HotKeys;
pub use layer::RouteLayer;
pub use routed::{RoutedBatch, RoutedRecord, SinkSet};
pub use router::Router;
pub use service::Route;
pub use template::{Template, TemplateError};

/// The longest topic name that Kafka takes.
pub const MAX_TOPIC_LENGTH: usize = 249;

/// Whether `topic` is a name that every sink takes: `[A-Za-z0-9._-]{1,249}`, not `.` or `..`, and not one of Kafka's own (`__…`).
#[must_use]
pub fn is_topic_name(topic: &str) -> bool {
    let legal = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'_' | b'-');
    (1..=MAX_TOPIC_LENGTH).contains(&topic.len())
        && topic.bytes().all(legal)
        && !topic.starts_with("__")
        && topic != "."
        && topic != ".."
}
