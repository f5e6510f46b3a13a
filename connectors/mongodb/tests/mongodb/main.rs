//! The source against a real server, which `MONGODB_URL` names.

mod behaviour;
mod conformance;
mod rebuild;
mod snapshot;
mod support;
mod trouble;
