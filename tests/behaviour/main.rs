//! How Headgate behaves with real servers. One binary, so that it is linked once.
//!
//! The servers' addresses come from the environment (`scripts/services with kafka … -- cargo test`); a test whose server is
//! missing fails and says how to start it.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the report")]

mod cli;
mod dependencies;
mod gateway;
mod kafka;
mod ledger;
mod mongodb;
mod postgres;
mod support;
mod webhooks;
