//! Servers of a test's own: to be stopped, killed, or started with options.

use std::{path::Path, process::Command};

/// A server of its own, with options of its own, that ends with the test.
pub(crate) struct OwnServer {
    folder: tempfile::TempDir,
    pub(crate) url: String,
}

impl OwnServer {
    pub(crate) fn start(options: &str) -> Self {
        Self::start_in(
            tempfile::tempdir().expect("a temporary folder can be made"),
            options,
        )
    }

    /// The same in a folder that may hold files which the options name.
    pub(crate) fn start_in(folder: tempfile::TempDir, options: &str) -> Self {
        let said = services(folder.path(), "start", options);
        let url = said
            .lines()
            .find_map(|line| line.strip_prefix("export MONGODB_URL="))
            .expect("scripts/services prints the URL")
            .trim_matches(['\'', '"'])
            .to_owned();
        Self { folder, url }
    }

    /// SIGKILL, as a crash does it.
    pub(crate) fn kill(&self) {
        services(self.folder.path(), "kill", "");
    }

    /// Stops it, and starts it with other options on the same port and data; or brings it back after a kill.
    pub(crate) fn restart(&self, options: &str) {
        services(self.folder.path(), "restart", options);
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for OwnServer {
    fn drop(&mut self) {
        services(self.folder.path(), "stop", "");
    }
}

fn services(folder: &Path, what: &str, options: &str) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .map(|folder| folder.join("scripts/services"))
        .find(|script| script.exists())
        .expect("the repository has scripts/services");
    let output = Command::new(script)
        .args([what, "mongodb"])
        .env("HEADGATE_SERVICES_DIR", folder)
        .env("HEADGATE_MONGODB_OPTIONS", options)
        .output()
        .expect("scripts/services runs");
    assert!(
        output.status.success(),
        "scripts/services {what} mongodb failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}
