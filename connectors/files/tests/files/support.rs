//! A source on lanes in memory, over folders that are real.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use headgate_files::{
    Files,
    ledger::{self, FileEntry},
};
use headgate_sdk::{
    DeadLetter, Envelope, LaneId,
    conformance::{Run, World},
};
use serde_json::{Value, json};

/// The longest that anything may take: generous, on a machine that is busy with other tests too.
pub(crate) const DEADLINE: Duration = Duration::from_secs(180);

/// A folder, a world, and a source that may run.
pub(crate) struct Bench {
    pub(crate) inbox: tempfile::TempDir,
    pub(crate) world: World,
    config: Value,
    run: Option<Run>,
}

impl Bench {
    /// With `settings` beside the folder and times that suit tests.
    pub(crate) fn new(settings: Value) -> Self {
        let inbox = tempfile::tempdir().unwrap();
        let mut config = json!({
            "paths": [inbox.path()],
            "settle": "50ms",
            "scan_interval": "300ms",
            "poll_interval": "200ms",
        });
        for (key, value) in settings.as_object().unwrap() {
            config[key] = value.clone();
        }
        Self {
            inbox,
            world: World::new(4 << 20),
            config,
            run: None,
        }
    }

    pub(crate) fn started(settings: Value) -> Self {
        let mut bench = Self::new(settings);
        bench.start();
        bench
    }

    pub(crate) fn set(&mut self, key: &str, value: Value) {
        self.config[key] = value;
    }

    pub(crate) fn start(&mut self) {
        assert!(self.run.is_none(), "it runs already");
        self.run = Some(self.world.start::<Files>(self.config.clone()).unwrap());
    }

    /// As `kill -9` would: what is not durable is forgotten.
    pub(crate) async fn crash(&mut self) {
        self.run.take().unwrap().kill().await;
        self.world.lanes.crash();
    }

    pub(crate) async fn stop(&mut self) {
        self.run.take().unwrap().stop(DEADLINE).await.unwrap();
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.inbox.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    pub(crate) fn events(&self) -> Vec<Envelope> {
        let sent = self.world.lanes.sent();
        sent.into_values().flat_map(|sent| sent.durable).collect()
    }

    pub(crate) fn rejected(&self) -> Vec<DeadLetter> {
        let sent = self.world.lanes.sent();
        sent.into_values().flat_map(|sent| sent.rejected).collect()
    }

    /// Subjects of the durable events, in order.
    pub(crate) fn subjects(&self) -> Vec<String> {
        self.events().iter().map(subject).collect()
    }

    /// Waits until `count` events are durable, and returns them.
    pub(crate) async fn until_events(&self, count: usize) -> Vec<Envelope> {
        self.until(&format!("{count} events"), |bench| {
            bench.events().len() >= count
        })
        .await;
        let events = self.events();
        assert_eq!(events.len(), count, "last {:?}", self.subjects().last());
        events
    }

    /// Waits until something holds.
    pub(crate) async fn until(&self, what: &str, mut holds: impl FnMut(&Self) -> bool) {
        let waited = tokio::time::timeout(DEADLINE, async {
            while !holds(self) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        if waited.await.is_err() {
            let subjects = self.subjects();
            panic!(
                "waited in vain for {what}; {} events, last {:?}, status: {:?}, {:?}",
                subjects.len(),
                subjects.last(),
                self.status().await,
                self.warnings()
            );
        }
    }

    /// Waits until everything is at rest that lay in the folders when this was called.
    pub(crate) async fn settled(&self) {
        self.settled_but(&["discovered", "stable", "published"])
            .await;
    }

    /// As [`settled`](Self::settled), while durability is held back.
    pub(crate) async fn sent(&self) {
        self.settled_but(&["discovered", "stable"]).await;
    }

    async fn settled_but(&self, states: &[&str]) {
        let scans = async || self.status().await["scans"].as_u64().unwrap();
        let waited = tokio::time::timeout(DEADLINE, async {
            // The next scan to end may have begun before.
            let enough = scans().await + 2;
            loop {
                let status = self.status().await;
                let busy = states.iter().any(|s| status["states"][s]["count"] != 0);
                if !busy && status["scans"].as_u64().unwrap() >= enough {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        if waited.await.is_err() {
            panic!(
                "never at rest: {}, {:?}",
                self.status().await,
                self.warnings()
            );
        }
    }

    /// Waits until `count` more scans of all folders ended.
    pub(crate) async fn scanned(&self, count: u64) {
        let scans = async || self.status().await["scans"].as_u64().unwrap();
        let enough = scans().await + count;
        let waited = tokio::time::timeout(DEADLINE, async {
            while scans().await < enough {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        waited.await.expect("scans follow each other");
    }

    pub(crate) fn is_running(&self) -> bool {
        self.run.is_some()
    }

    pub(crate) async fn status(&self) -> Value {
        let run = self.run.as_ref().unwrap();
        run.control("status", json!({})).await.unwrap()
    }

    pub(crate) fn warnings(&self) -> BTreeMap<String, String> {
        self.run.as_ref().unwrap().status.warnings()
    }

    /// The stored state of a file.
    pub(crate) fn stored(&self, path: &Path) -> Option<Value> {
        let lane = LaneId::from_stored("subject/");
        let entries = self.world.lanes.stored_entries(&lane);
        let key = ledger::key::file(path);
        let entry: FileEntry = ledger::get(entries.get(&key)?).unwrap();
        Some(serde_json::to_value(entry).unwrap())
    }

    pub(crate) async fn until_state(&self, path: &Path, state: &str) {
        self.until(&format!("{} to be {state}", path.display()), |bench| {
            bench.stored(path).is_some_and(|entry| entry["s"] == state)
        })
        .await;
    }
}

pub(crate) fn subject(event: &Envelope) -> String {
    event.subject.as_ref().unwrap().to_string()
}

pub(crate) fn data(event: &Envelope) -> Value {
    serde_json::from_slice(event.data.bytes().unwrap()).unwrap()
}

/// Names in a folder, sorted.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// `long` where `make test-long` runs, else `short`.
pub(crate) fn scaled<T>(short: T, long: T) -> T {
    if std::env::var("HEADGATE_TEST_SCALE").is_ok_and(|scale| scale == "long") {
        long
    } else {
        short
    }
}
