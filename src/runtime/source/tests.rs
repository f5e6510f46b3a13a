//! Sources that fail in every way there is. Time is paused: it jumps to the next pause's end.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::future::BoxFuture;
use headgate_sdk::{
    BuildError, Connector, Lane, LaneError, LaneSpec, Lanes, Source, SourceContext, SourceError,
    SourceInfo, Str, admission::Admission, blobs::FolderStore, http::Mounts, lane::LaneOpener,
    status::State,
};
use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{SourceHandle, Supervisor};
use crate::{config::Keys, connectors::Registration, http::Router};

/// When each source of these tests was started, by name.
static STARTS: Mutex<BTreeMap<String, Vec<Instant>>> = Mutex::new(BTreeMap::new());

/// Does what its script says, one entry a run; at its end it serves.
struct Scripted;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Config {
    script: Vec<Run>,
}

#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Run {
    Fail,
    Panic,
    End,
    Fatal,
    ServeThenFail,
}

struct OneRun(Option<Run>);

impl Connector for Scripted {
    const NAME: &'static str = "scripted";
    const SUMMARY: &'static str = "Does what a script says.";
    type Config = Config;
    type Source = OneRun;

    fn build(config: Config, info: &SourceInfo) -> Result<OneRun, BuildError> {
        let mut starts = STARTS.lock();
        let starts = starts.entry(info.name.to_string()).or_default();
        starts.push(Instant::now());
        Ok(OneRun(config.script.get(starts.len() - 1).copied()))
    }
}

impl Source for OneRun {
    async fn run(self, cx: SourceContext) -> Result<(), SourceError> {
        match self.0 {
            Some(Run::Fail) => return Err(SourceError::retriable("the server is away")),
            Some(Run::Panic) => panic!("scripted"),
            Some(Run::End) => return Ok(()),
            Some(Run::Fatal) => return Err(SourceError::fatal("the slot is lost; make a new one")),
            Some(Run::ServeThenFail) => {
                tokio::time::sleep(Duration::from_secs(61)).await;
                return Err(SourceError::retriable("the server went away"));
            }
            None => {}
        }
        cx.status.set(State::Ready);
        cx.shutdown.cancelled().await;
        Ok(())
    }
}

struct NoLanes;

impl LaneOpener for NoLanes {
    fn open(&self, _: LaneSpec) -> BoxFuture<'_, Result<Lane, LaneError>> {
        Box::pin(async { Err(LaneError::Closed) })
    }
}

/// A supervised source.
struct Rig {
    name: &'static str,
    handle: SourceHandle,
    broken: watch::Sender<Str>,
    ended: tokio::task::JoinHandle<()>,
    _folder: tempfile::TempDir,
}

impl Rig {
    fn start(name: &'static str, script: serde_json::Value) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let broken = watch::Sender::new(Str::default());
        let supervisor = Supervisor {
            connector: Registration::of::<Scripted>(),
            info: SourceInfo {
                name: name.into(),
                urn: Str::from(format!("urn:headgate:default:scripted:{name}")),
                tenant: "default".into(),
                group: "headgate".into(),
                instance: "test".into(),
                public_url: None,
            },
            keys: Keys::new(serde_json::json!({ "script": script })),
            lanes: Lanes::new(Arc::new(NoLanes)),
            broken: broken.clone(),
            http: Mounts::new(Arc::new(Router::default())),
            admission: Admission::unlimited(),
            blobs: Arc::new(FolderStore::new(folder.path().join("blobs"))),
            scratch: folder.path().join("scratch"),
            paused: watch::Sender::new(false),
            stop: CancellationToken::new(),
        };
        let (handle, supervise) = supervisor.start();
        Self {
            name,
            handle,
            broken,
            ended: tokio::spawn(supervise),
            _folder: folder,
        }
    }

    fn starts(&self) -> Vec<Instant> {
        STARTS.lock().get(self.name).cloned().unwrap_or_default()
    }

    /// Waits for a state; returns its reason.
    async fn state(&self, word: &str) -> String {
        loop {
            let report = self.handle.report();
            if report.state == word {
                return report.reason.unwrap_or_default();
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    async fn stop(self) {
        self.handle.stop();
        self.ended.await.unwrap();
        assert_eq!(self.handle.report().state, "stopped");
    }
}

fn pauses(starts: &[Instant]) -> Vec<f64> {
    starts
        .windows(2)
        .map(|pair| (pair[1] - pair[0]).as_secs_f64())
        .collect()
}

#[tokio::test(start_paused = true)]
async fn a_source_that_fails_is_started_again_ever_later_and_no_other_notices() {
    let other = Rig::start("other", serde_json::json!([]));
    let failing = Rig::start("failing", serde_json::json!(vec!["fail"; 9]));
    assert_eq!(failing.state("restarting").await, "the server is away");
    other.state("ready").await;
    failing.state("ready").await;
    for (n, pause) in pauses(&failing.starts()).into_iter().enumerate() {
        let longest = (0.5 * f64::from(1_u32 << n)).min(60.0);
        assert!(
            (longest / 2.0..longest + 0.1).contains(&pause),
            "pause {n} took {pause} s, at most {longest} s expected"
        );
    }
    assert_eq!((failing.starts().len(), other.starts().len()), (10, 1));
    other.stop().await;
    failing.stop().await;
}

#[tokio::test(start_paused = true)]
async fn after_a_good_run_the_pauses_begin_small_again() {
    let mut script = vec!["fail"; 7];
    script.extend(["serve_then_fail", "fail"]);
    let source = Rig::start("recovered", serde_json::json!(script));
    source.state("ready").await;
    let pauses = pauses(&source.starts());
    assert!(pauses[6] > 15.0, "{pauses:?}");
    // The run itself took 61 seconds.
    assert!(pauses[7] < 61.0 + 0.6, "{pauses:?}");
    assert!(pauses[8] < 1.1, "{pauses:?}");
    source.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_panic_and_an_end_that_nobody_asked_for_are_failures() {
    let source = Rig::start("panics", serde_json::json!(["panic", "end"]));
    let reason = source.state("restarting").await;
    assert!(reason.contains("panicked"), "{reason}");
    while source.starts().len() < 2 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let reason = source.state("restarting").await;
    assert!(reason.contains("nobody asked"), "{reason}");
    source.state("ready").await;
    source.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_fatal_error_waits_for_the_operator() {
    let source = Rig::start("fatal", serde_json::json!(["fatal"]));
    let reason = source.state("failed").await;
    assert_eq!(reason, "the slot is lost; make a new one");
    tokio::time::sleep(Duration::from_secs(86_400)).await;
    assert_eq!(source.starts().len(), 1);
    source.handle.restart();
    source.state("ready").await;
    source.stop().await;

    let stopped = Rig::start("fatal and stopped", serde_json::json!(["fatal"]));
    stopped.state("failed").await;
    stopped.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_lane_that_breaks_off_starts_its_source_again() {
    let source = Rig::start("broken", serde_json::json!([]));
    source.state("ready").await;
    source.broken.send_replace("a lane broke off".into());
    let reason = source.state("restarting").await;
    assert!(reason.contains("broke off"), "{reason}");
    source.state("ready").await;
    assert_eq!(source.starts().len(), 2);
    source.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_operator_restarts_a_source_at_once() {
    let source = Rig::start("restarted", serde_json::json!([]));
    source.state("ready").await;
    let before = Instant::now();
    source.handle.restart();
    while source.starts().len() < 2 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(before.elapsed() < Duration::from_millis(100));
    source.state("ready").await;
    source.stop().await;
}
