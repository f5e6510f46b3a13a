//! The gateway with MongoDB sources: the real binary against the real server.

mod check;
mod crash;
mod exactly_once;
#[path = "../../../connectors/mongodb/tests/mongodb/faults.rs"]
mod faults;
#[path = "../../../connectors/mongodb/tests/mongodb/fold.rs"]
mod fold;
#[expect(dead_code, reason = "the connector's own tests use the rest of it")]
#[path = "../../../connectors/mongodb/tests/mongodb/proxy.rs"]
mod proxy;
#[expect(dead_code, reason = "the connector's own tests use the rest of it")]
#[path = "../../../connectors/mongodb/tests/mongodb/server.rs"]
mod server;
mod supervised;
#[path = "../../../connectors/mongodb/tests/mongodb/workload.rs"]
mod workload;

/// The server that `MONGODB_URL` names.
fn url() -> String {
    crate::support::server("MONGODB_URL", "mongodb")
}

/// A connection string under an application name.
fn called(url: &str, application: &str) -> String {
    let separator = if url.contains('?') { '&' } else { '?' };
    format!("{url}{separator}appName={application}")
}
