//! MongoDB change streams without holes.
//!
//! A DBA points a source at a collection, a database or a whole deployment; every change becomes an event in the order in which
//! the majority wrote it, and what existed before is read in between without ever overtaking or undoing a change.
//!
//! | concept | where |
//! |---|---|
//! | what a source is told | [`config`] |
//! | which namespaces it watches | `scope` |
//! | who stands behind a URL | `deployment` |
//! | the server's change stream, raw | `stream` |
//! | a change as it came, and split ones | `change` |
//! | BSON as Extended JSON | [`json`] |
//! | events | `event` |
//! | where to resume | `position` |
//! | what an error means | `failure` |
//! | reading what exists | `snapshot` |
//! | the running source | [`source`] |
//! | `headgate mongodb check` | `command` |
//!
//! Invariants: a token is stored only with or after every event up to it; lost history is never passed over in silence; whatever the
//! server or the network does, there is a wait between two attempts; a document is read once, as bytes, and written once, as JSON.

mod change;
mod command;
pub mod config;
mod connector;
mod deployment;
mod event;
mod failure;
pub mod json;
mod position;
mod scope;
mod snapshot;
pub mod source;
mod stream;

pub use connector::Mongodb;
