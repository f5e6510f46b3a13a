//! What the tests share: servers, a gateway as a process, a client, a consumer that knows nothing of Headgate, a way into a
//! sink.

pub(crate) mod broker;
pub(crate) mod consumer;
pub(crate) mod disk;
pub(crate) mod figures;
pub(crate) mod gateway;
pub(crate) mod http;
pub(crate) mod kafka_tools;
pub(crate) mod ports;
pub(crate) mod way;

use std::path::PathBuf;

/// `few` in an ordinary run, `many` when the scale of the tests is `long`.
pub(crate) fn scale(few: u64, many: u64) -> u64 {
    match std::env::var("HEADGATE_TEST_SCALE") {
        Ok(scale) if scale == "long" => many,
        _ => few,
    }
}

/// The repository's root, where `scripts/services` is.
pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The address of a server from the environment.
pub(crate) fn server(variable: &str, service: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| {
        panic!(
            "this test needs {variable}; start the server and run the tests with it:\n    \
             scripts/services with {service} -- cargo test"
        )
    })
}

/// A name that no other test and no earlier run uses.
pub(crate) fn unique(prefix: &str) -> String {
    format!("{prefix}-{:016x}", fastrand::u64(..))
}
