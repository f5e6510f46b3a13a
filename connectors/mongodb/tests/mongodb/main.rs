//! The source against a real server, which `MONGODB_URL` names.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod behaviour;
mod conformance;
mod rebuild;
mod snapshot;
mod support;
mod trouble;
