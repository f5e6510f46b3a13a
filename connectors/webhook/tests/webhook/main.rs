//! A running source, from the request's first header to the lane.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod answers;
mod bodies;
mod conformance;
mod dedup;
mod email;
mod events;
mod handshakes;
mod quarantine;
mod support;
