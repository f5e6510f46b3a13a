//! Every layer keeps tower's contract of readiness: it calls the service behind it only after that has said it is ready, once for
//! each time; it waits where that waits; it hands failures on; and a call that was given up in the middle does not break the next.

use std::{
    collections::BTreeSet,
    path::Path,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use futures::{FutureExt, future::BoxFuture};
use headgate_sdk::{Data, Envelope, LaneId, Timestamp};
use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::{Layer, Service, ServiceExt, util::BoxService};

use super::{Gone, ScriptedSink, context, lane, pipeline, plan};
use crate::pipeline::{
    LayerStates, PipelineBatch, PipelineError, Step,
    breaker::BreakerLayer,
    dead_letter::DeadLetterLayer,
    dedup::DedupLayer,
    deliver::{Deliver, LaneOutlet},
    rate_limit::RateLimitLayer,
    retry::RetryLayer,
    route::{self, RouteLayer, RoutedBatch, RoutedRecord, SinkSet},
    share::{Priority, Share, ShareLayer},
    step::StepLayer,
    timeout::TimeoutLayer,
};
use crate::sink::{Accepted, Checkpoint, Keeps, Outcome, Record, Sink, SinkBatch, SinkError};

/// What the service behind a layer does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mood {
    Waits,
    Ready,
    Broken,
}

/// A service that insists on the contract.
struct Strict<E> {
    shared: Arc<Shared>,
    armed: bool,
    error: fn() -> E,
}

struct Shared {
    inner: Mutex<Inner>,
}

struct Inner {
    mood: Mood,
    calls: usize,
    wakers: Vec<Waker>,
}

impl Shared {
    fn new() -> Arc<Self> {
        let inner = Inner {
            mood: Mood::Waits,
            calls: 0,
            wakers: Vec::new(),
        };
        Arc::new(Self {
            inner: Mutex::new(inner),
        })
    }

    fn becomes(&self, mood: Mood) {
        let mut inner = self.inner.lock();
        inner.mood = mood;
        inner.wakers.drain(..).for_each(Waker::wake);
    }

    fn calls(&self) -> usize {
        self.inner.lock().calls
    }
}

impl<R, E> Service<R> for Strict<E> {
    type Response = Accepted;
    type Error = E;
    type Future = std::future::Ready<Result<Accepted, E>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), E>> {
        let mut inner = self.shared.inner.lock();
        match inner.mood {
            Mood::Waits => {
                inner.wakers.push(cx.waker().clone());
                Poll::Pending
            }
            Mood::Broken => Poll::Ready(Err((self.error)())),
            Mood::Ready => {
                self.armed = true;
                Poll::Ready(Ok(()))
            }
        }
    }

    fn call(&mut self, _: R) -> Self::Future {
        assert!(self.armed, "called without having said that it is ready");
        self.armed = false;
        self.shared.inner.lock().calls += 1;
        std::future::ready(Ok(Accepted::known(Outcome::Durable)))
    }
}

/// A layer over a strict service: one request goes through and has its outcome.
type Under = BoxService<(), BoxFuture<'static, ()>, String>;

/// Makes a layer over a strict service.
type Make = Box<dyn Fn(&Arc<Shared>) -> Under>;

fn under<S, R>(service: S, request: fn() -> R) -> Under
where
    S: Service<R, Response = Accepted> + Send + 'static,
    S::Future: Send + 'static,
    S::Error: std::fmt::Display + 'static,
    R: 'static,
{
    let service = service
        .map_request(move |()| request())
        .map_response(|accepted: Accepted| accepted.map(|_| ()).boxed())
        .map_err(|error| error.to_string());
    BoxService::new(service)
}

fn strict_pipeline(shared: &Arc<Shared>) -> Strict<PipelineError> {
    Strict {
        shared: Arc::clone(shared),
        armed: false,
        error: || PipelineError::Closed,
    }
}

fn strict_sink(shared: &Arc<Shared>) -> Strict<SinkError> {
    Strict {
        shared: Arc::clone(shared),
        armed: false,
        error: || SinkError::new("broken"),
    }
}

fn event() -> Envelope {
    let data = Data::json(r#"{"a":1}"#);
    Envelope::new("1", "urn:s", "a.v1", Timestamp::now(), data)
}

fn batch() -> PipelineBatch {
    PipelineBatch::new(lane("lane"), vec![event()])
}

fn record() -> Record {
    Record {
        envelope: event(),
        topic: "t".into(),
        key: None,
        headers: Vec::new(),
    }
}

fn routed() -> RoutedBatch {
    RoutedBatch {
        lane: lane("lane"),
        number: 1,
        records: vec![RoutedRecord {
            record: record(),
            sinks: SinkSet::of([0]),
        }],
        rejected: Vec::new(),
        checkpoint: Checkpoint::default(),
    }
}

fn for_sink() -> Arc<SinkBatch> {
    Arc::new(SinkBatch {
        lane: LaneId::from_stored("lane"),
        number: 1,
        records: vec![record()],
        dead_letters: Vec::new(),
        checkpoint: None,
        landed: crate::sink::Notes::default(),
    })
}

/// A schema that all data has.
fn schema() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("s.json"), "{}").unwrap();
    folder
}

/// Every layer, by the name of its folder.
fn layers() -> Vec<(&'static str, Make)> {
    let mut layers: Vec<(&'static str, Make)> = Vec::new();
    for (name, config) in [
        ("filter", json!({"equals": {"type": ["a.v1"]}})),
        ("transform", json!({"vrl": ".b = .a"})),
        ("set", json!({"fields": {"/b": 1}})),
        ("remove", json!({"fields": ["/a"]})),
        ("rename", json!({"fields": {"/a": "/b"}})),
        ("keep_fields", json!({"fields": ["/a"]})),
        ("redact", json!({"fields": ["/a"]})),
        ("validate", json!({"schema": "s.json"})),
        ("max_age", json!({"age": "1h"})),
        ("max_hops", json!({"hops": 3})),
    ] {
        let step: Step = serde_json::from_value(json!({ name: config })).unwrap();
        if let Step::Validate(validate) = &step {
            validate.schema.load(schema().path()).unwrap();
        }
        let step = step.event_step(&name.into()).unwrap();
        layers.push((
            name,
            Box::new(move |shared| {
                let layer = StepLayer::new(Arc::clone(&step));
                under(layer.layer(strict_pipeline(shared)), batch)
            }),
        ));
    }
    layers.push((
        "dedup",
        Box::new(|shared| {
            let config = serde_json::from_value(json!({"key": "%id", "window": "1h"})).unwrap();
            let layer = DedupLayer::new(&config, "dedup", &LayerStates::default(), "p/dedup");
            under(layer.layer(strict_pipeline(shared)), batch)
        }),
    ));
    layers.push((
        "rate_limit",
        Box::new(|shared| {
            let config = json!({"limit": "1000/second", "on_limit": "wait"});
            let config = serde_json::from_value(config).unwrap();
            let states = LayerStates::default();
            let layer = RateLimitLayer::new(&config, "rate_limit", &states, "p/rate_limit");
            under(layer.layer(strict_pipeline(shared)), batch)
        }),
    ));
    layers.push((
        "route",
        Box::new(|shared| {
            let layer = RouteLayer::new(&route::Config::default(), "route", &["main".into()]);
            under(layer.layer(strict_pipeline(shared)), batch)
        }),
    ));
    layers.push((
        "deliver",
        Box::new(|shared| {
            let outlet = LaneOutlet {
                sink: "main".into(),
                service: BoxService::new(strict_sink(shared)),
                required: true,
                keeps: Keeps::default(),
                max_event_bytes: usize::MAX,
                unsettled: Arc::new(Semaphore::new(1)),
            };
            let states = LayerStates::default();
            let abandon = CancellationToken::new();
            let tasks = TaskTracker::new();
            let deliver = Deliver::new(vec![outlet], Gone::new(), states, tasks, abandon);
            under(deliver, routed)
        }),
    ));
    layers.push((
        "dead_letter",
        Box::new(|shared| {
            let layer = DeadLetterLayer::new("main", Gone::new(), LayerStates::default());
            under(layer.layer(strict_sink(shared)), for_sink)
        }),
    ));
    layers.push((
        "retry",
        Box::new(|shared| {
            let sink = plan(&ScriptedSink::new("main", []), true);
            let (tasks, abandon) = (TaskTracker::new(), CancellationToken::new());
            let layer = RetryLayer::new(sink.breaker, None, tasks, abandon);
            under(layer.layer(strict_sink(shared)), for_sink)
        }),
    ));
    layers.push((
        "breaker",
        Box::new(|shared| {
            let layer = BreakerLayer::new(plan(&ScriptedSink::new("main", []), true).breaker);
            under(layer.layer(strict_sink(shared)), for_sink)
        }),
    ));
    layers.push((
        "share",
        Box::new(|shared| {
            let layer = ShareLayer::new(Share::new(1), Priority::Bulk);
            under(layer.layer(strict_sink(shared)), for_sink)
        }),
    ));
    layers.push((
        "timeout",
        Box::new(|shared| {
            let breaker = plan(&ScriptedSink::new("main", []), true).breaker;
            let layer = TimeoutLayer::new(Duration::from_secs(3600), breaker);
            under(layer.layer(strict_sink(shared)), for_sink)
        }),
    ));
    layers
}

/// One request through, and its outcome.
async fn through(service: &mut Under) -> Result<(), String> {
    let accepted = service.ready().await?.call(()).await?;
    accepted.await;
    Ok(())
}

/// Time enough for everything that can happen to happen: time stands still while anything can run.
async fn settle() {
    tokio::time::sleep(Duration::from_secs(1)).await;
}

#[test]
fn no_layer_is_left_out() {
    // What is in `src/pipeline` and has a service or a step of its own. `step` is what the steps share.
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/pipeline");
    let mut expected = BTreeSet::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let has = |file: &str| path.join(file).exists();
        if has("service.rs") || has("layer.rs") || has("step.rs") {
            expected.insert(path.file_name().unwrap().to_str().unwrap().to_owned());
        }
    }
    assert!(expected.remove("step"));
    let tested: BTreeSet<String> = layers()
        .iter()
        .map(|(name, _)| (*name).to_owned())
        .collect();
    assert_eq!(tested, expected);
}

#[tokio::test(start_paused = true)]
async fn every_layer_waits_for_what_is_behind_it_and_calls_it_once() {
    for (name, make) in layers() {
        let shared = Shared::new();
        let mut service = make(&shared);
        let mut waiting = Box::pin(through(&mut service));
        tokio::select! {
            done = &mut waiting => panic!("{name}: {done:?}, though nothing behind it was ready"),
            () = settle() => {}
        }
        assert_eq!(shared.calls(), 0, "{name}");
        shared.becomes(Mood::Ready);
        assert_eq!(waiting.await, Ok(()), "{name}");
        assert_eq!(shared.calls(), 1, "{name}");
        for calls in 2..5 {
            // Asking twice is fine.
            assert!(service.ready().await.is_ok(), "{name}");
            assert_eq!(through(&mut service).await, Ok(()), "{name}");
            assert_eq!(shared.calls(), calls, "{name}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn every_layer_hands_a_failure_on_except_the_one_that_tries_again() {
    for (name, make) in layers() {
        let shared = Shared::new();
        let mut service = make(&shared);
        shared.becomes(Mood::Broken);
        let failed = tokio::time::timeout(Duration::from_secs(60), through(&mut service)).await;
        if name == "retry" {
            assert!(failed.is_err(), "{name} gave up: {failed:?}");
        } else {
            assert!(matches!(failed, Ok(Err(_))), "{name}: {failed:?}");
        }
        assert_eq!(shared.calls(), 0, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_was_given_up_does_not_break_the_next() {
    for (name, make) in layers() {
        let shared = Shared::new();
        let mut service = make(&shared);
        {
            let mut given_up = Box::pin(through(&mut service));
            tokio::select! {
                _ = &mut given_up => panic!("{name}"),
                () = settle() => {}
            }
        }
        shared.becomes(Mood::Ready);
        if let Ok(ready) = service.ready().await {
            drop(ready.call(()));
        }
        let next = tokio::time::timeout(Duration::from_secs(60), through(&mut service)).await;
        assert_eq!(next, Ok(Ok(())), "{name}");
    }
}

/// The stack as it is built, over a sink that is away for a while.
#[tokio::test(start_paused = true)]
async fn the_whole_stack_waits_as_well() {
    let shared = Shared::new();
    let sink = plan(&ScriptedSink::new("main", []), true);
    let mut cx = context(vec![sink.clone()], Gone::new());
    cx.sinks = Arc::new([crate::pipeline::stack::SinkPlan {
        sink: Arc::new(Behind(sink.sink, Arc::clone(&shared))),
        ..sink
    }]);
    let lane = lane("lane");
    let deliver = crate::pipeline::stack::deliver(&lane.id, 0, Priority::default(), &cx);
    let steps = r#"[{"filter": {"keep": ".a == 1"}}, {"dedup": {"key": "%id", "window": "1h"}}]"#;
    let mut stack = under(pipeline(steps).build(deliver, &cx), batch);
    let mut waiting = Box::pin(through(&mut stack));
    tokio::select! {
        done = &mut waiting => panic!("{done:?}"),
        () = settle() => {}
    }
    shared.becomes(Mood::Ready);
    assert_eq!((waiting.await, shared.calls()), (Ok(()), 1));
}

/// A sink whose ways are strict.
struct Behind(Arc<dyn Sink>, Arc<Shared>);

impl Sink for Behind {
    fn name(&self) -> &headgate_sdk::Str {
        self.0.name()
    }

    fn keeps(&self) -> Keeps {
        self.0.keeps()
    }

    fn recover<'a>(
        &'a self,
        checkpoints: &'a crate::runtime::Checkpoints,
    ) -> BoxFuture<'a, Result<(), SinkError>> {
        self.0.recover(checkpoints)
    }

    fn open_lane(&self, _: &LaneId, _: u32) -> crate::sink::LaneSink {
        BoxService::new(strict_sink(&self.1))
    }

    fn status(&self) -> &headgate_sdk::status::Status {
        self.0.status()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.0.close()
    }
}
