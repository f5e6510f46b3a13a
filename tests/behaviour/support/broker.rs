//! A real broker of a test's own, to be stopped and started.

use std::{path::Path, process::Command};

use super::root;

/// A broker that belongs to one test. It ends with it.
pub(crate) struct OwnBroker {
    state: tempfile::TempDir,
    /// `host:port` of its plain listener; the same after a restart.
    pub(crate) brokers: String,
}

impl OwnBroker {
    /// Starts one; takes some seconds.
    pub(crate) fn start() -> Self {
        let state = tempfile::tempdir().unwrap();
        services(state.path(), "start");
        let environment = services(state.path(), "env");
        let brokers = environment
            .lines()
            .find_map(|line| line.strip_prefix("export KAFKA_BROKERS="))
            .expect("the script prints the address")
            .to_owned();
        Self { state, brokers }
    }

    /// Ends it as an operator does.
    pub(crate) fn stop(&self) {
        services(self.state.path(), "stop");
    }

    /// Ends it as a crash does.
    pub(crate) fn kill(&self) {
        services(self.state.path(), "kill");
    }

    /// Brings it back with what it had.
    pub(crate) fn start_again(&self) {
        services(self.state.path(), "start");
    }

    /// Holds it: connections stay, nothing is answered.
    pub(crate) fn pause(&self) {
        services(self.state.path(), "pause");
    }

    /// Lets it go on.
    pub(crate) fn resume(&self) {
        services(self.state.path(), "resume");
    }
}

impl Drop for OwnBroker {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.state.path().join("kafka/log"));
            eprintln!("the broker's log:\n{}", log.unwrap_or_default());
        }
        let _ends_with_the_test = command(self.state.path(), "stop").output();
    }
}

fn command(state: &Path, verb: &str) -> Command {
    let mut command = Command::new(root().join("scripts/services"));
    command
        .args([verb, "kafka"])
        .env("HEADGATE_SERVICES_DIR", state)
        .env("KAFKA_HEAP", "384m");
    command
}

fn services(state: &Path, verb: &str) -> String {
    let output = command(state, verb).output().unwrap();
    assert!(
        output.status.success(),
        "scripts/services {verb} kafka: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}
