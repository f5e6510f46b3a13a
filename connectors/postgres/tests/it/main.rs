//! The connector against real servers: `POSTGRES_URL` and `POSTGRES18_URL`, which `scripts/services start postgres15 postgres18`
//! prints.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod capture;
mod conformance;
mod delivery;
mod errors;
mod faults;
mod rebuild;
mod servers;
mod setup;
mod snapshot;
mod support;
mod types;
