//! The source against a real server, which `MONGODB_URL` names.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod behaviour;
mod conformance;
mod faults;
mod fold;
mod images;
mod outage;
mod proxy;
mod rebuild;
mod security;
mod server;
mod snapshot;
mod support;
mod trouble;
mod workload;
