//! The connector over real folders, on lanes in memory.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod afterwards;
mod behaviour;
mod bundles;
mod conformance;
mod growing;
mod model;
mod records;
mod scale;
mod support;
mod window;
