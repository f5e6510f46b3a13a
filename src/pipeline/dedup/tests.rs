use std::path::Path;
use std::sync::Arc;
use std::task::Poll;

use headgate_sdk::{Data, DeadLetter, Envelope, LaneId, Replay, Timestamp};
use proptest::prelude::{ProptestConfig, prop_assert, prop_assert_eq};
use serde_json::json;
use tower::{Layer, Service, ServiceExt};

use super::*;
use crate::pipeline::step::{Chain, EventStep};
use crate::pipeline::{LaneContext, LayerStates, PipelineBatch, PipelineError};
use crate::runtime::Checkpoints;

fn config(more: serde_json::Value) -> Config {
    let mut config = json!({"key": ".k", "window": "1h"});
    config
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    serde_json::from_value(config).unwrap()
}

fn event(id: &str, source: &str, data: &str) -> Envelope {
    Envelope::new(
        id,
        source,
        "a.v1",
        Timestamp::UNIX_EPOCH,
        Data::json(data.to_owned()),
    )
}

fn batch(events: Vec<Envelope>) -> PipelineBatch {
    let lane = LaneContext {
        id: LaneId::from_stored("lane"),
        source: "s".into(),
        tenant: "default".into(),
        replay: Replay::FromSource,
        shard: 0,
    };
    PipelineBatch::new(Arc::new(lane), events)
}

/// What of (id, key) pairs of one source passes, in one batch, `seconds` after the epoch.
fn passes(step: &Arc<DedupStep>, seconds: i64, pairs: &[(&str, &str)]) -> Vec<String> {
    let events = pairs
        .iter()
        .map(|(id, key)| event(id, "urn:a", &format!(r#"{{"k":{key}}}"#)));
    let mut batch = batch(events.collect());
    apply(step, &mut batch, Timestamp::from_second(seconds).unwrap());
    batch
        .events
        .iter()
        .map(|event| event.id.to_string())
        .collect()
}

fn apply(step: &Arc<DedupStep>, batch: &mut PipelineBatch, now: Timestamp) {
    Chain::new(vec![Arc::clone(step) as Arc<dyn EventStep>]).apply_at(now, batch);
}

fn step(config: &Config) -> Arc<DedupStep> {
    DedupLayer::new(config, "dedup", &LayerStates::default(), "default/dedup").step()
}

#[test]
fn the_first_with_a_key_passes_and_always_passes_again() {
    let step = step(&config(json!({})));
    assert_eq!(
        passes(
            &step,
            0,
            &[
                ("1", "\"x\""),
                ("2", "\"x\""),
                ("1", "\"x\""),
                ("3", "\"y\"")
            ]
        ),
        ["1", "1", "3"]
    );
    assert_eq!(
        passes(&step, 10, &[("1", "\"x\""), ("4", "\"x\""), ("5", "\"y\"")]),
        ["1"]
    );
}

#[test]
fn an_event_without_a_key_passes_and_a_key_that_is_none_fails() {
    let step = step(&config(json!({})));
    assert_eq!(
        passes(&step, 0, &[("1", "null"), ("2", "null")]),
        ["1", "2"]
    );
    let mut failing = batch(vec![event("1", "urn:a", r#"{"k":{}}"#)]);
    apply(&step, &mut failing, Timestamp::UNIX_EPOCH);
    assert_eq!((failing.events.len(), failing.rejected.len()), (0, 1));
}

#[test]
fn a_key_is_forgotten_after_the_window() {
    let step = step(&config(json!({})));
    assert_eq!(passes(&step, 0, &[("1", "1")]), ["1"]);
    assert_eq!(passes(&step, 3600, &[("2", "1")]), [""; 0]);
    assert_eq!(passes(&step, 3601, &[("3", "1")]), ["3"]);
    assert_eq!(passes(&step, 3602, &[("1", "1")]), [""; 0]);
}

#[test]
fn keys_are_bounded_and_the_oldest_go_first() {
    let config = config(json!({"max_entries": 3}));
    let layer = DedupLayer::new(&config, "dedup", &LayerStates::default(), "default/dedup");
    let step = layer.step();
    for n in 0..100 {
        assert_eq!(
            passes(&step, n, &[(&n.to_string(), &n.to_string())]).len(),
            1
        );
        assert!(layer.state.len() <= 3);
    }
    assert_eq!(
        passes(
            &step,
            100,
            &[("a", "97"), ("b", "98"), ("c", "99"), ("d", "96")]
        ),
        ["d"]
    );
}

#[test]
fn sources_share_keys_only_if_told_and_tenants_never() {
    let ids = |config: &Config| {
        let mut other_tenant = event("3", "urn:a", r#"{"k":1}"#);
        other_tenant.tenantid = "other".into();
        let mut batch = batch(vec![
            event("1", "urn:a", r#"{"k":1}"#),
            event("2", "urn:b", r#"{"k":1}"#),
            other_tenant,
        ]);
        apply(&step(config), &mut batch, Timestamp::UNIX_EPOCH);
        batch
            .events
            .iter()
            .map(|event| event.id.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(ids(&config(json!({}))), ["1", "2", "3"]);
    assert_eq!(ids(&config(json!({"across_sources": true}))), ["1", "3"]);
}

#[test]
fn a_dead_letter_gives_its_key_back() {
    let states = LayerStates::default();
    let layer = DedupLayer::new(&config(json!({})), "dedup", &states, "default/dedup");
    let step = layer.step();
    assert_eq!(passes(&step, 0, &[("1", "1"), ("2", "2")]), ["1", "2"]);
    states.dead_lettered(&[DeadLetter::new(
        event("1", "urn:a", "{}"),
        "validate",
        "invalid_data",
        "no",
    )]);
    assert_eq!(passes(&step, 1, &[("3", "1"), ("4", "2")]), ["3"]);
}

/// Counts the events that get through, or hangs up as if the process were gone.
struct End(Option<tokio::sync::mpsc::Sender<usize>>);

impl Service<PipelineBatch> for End {
    type Response = ();
    type Error = PipelineError;
    type Future = std::future::Ready<Result<(), PipelineError>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> Poll<Result<(), PipelineError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, batch: PipelineBatch) -> Self::Future {
        std::future::ready(match &self.0 {
            Some(counter) => counter
                .try_send(batch.events.len())
                .map_err(|_| PipelineError::Closed),
            None => Err(PipelineError::Closed),
        })
    }
}

/// A gateway's life up to its end: calls the layer with one batch, delivered or not.
async fn life(file: &Path, events: Vec<Envelope>, delivers: bool) -> Option<usize> {
    let store = Checkpoints::open(file).unwrap();
    let states = LayerStates::stored_in(store.clone());
    let (sender, mut counted) = tokio::sync::mpsc::channel(1);
    let mut service = DedupLayer::new(&config(json!({})), "dedup", &states, "default/dedup")
        .layer(End(delivers.then_some(sender)));
    let result = service.ready().await.unwrap().call(batch(events)).await;
    assert_eq!(result.is_ok(), delivers);
    drop((service, states));
    store.close().await;
    counted.try_recv().ok()
}

#[tokio::test]
async fn a_crash_between_dedup_and_durability_delivers_once() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("checkpoints.redb");
    let first = || event("1", "urn:a", r#"{"k":1}"#);
    // The key is stored, the event is not delivered: as after kill -9, or an aborted transaction.
    assert_eq!(life(&file, vec![first()], false).await, None);
    // Sent again, it passes; its duplicate does not, neither in this life nor in the next.
    assert_eq!(
        life(
            &file,
            vec![first(), event("2", "urn:a", r#"{"k":1}"#)],
            true
        )
        .await,
        Some(1)
    );
    assert_eq!(
        life(&file, vec![event("3", "urn:a", r#"{"k":1}"#)], true).await,
        Some(0)
    );
}

#[tokio::test]
async fn what_was_given_back_or_evicted_stays_so_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("checkpoints.redb");
    {
        let store = Checkpoints::open(&file).unwrap();
        let states = LayerStates::stored_in(store.clone());
        let (sender, _counted) = tokio::sync::mpsc::channel(9);
        let mut service = DedupLayer::new(&config(json!({})), "dedup", &states, "default/dedup")
            .layer(End(Some(sender)));
        let events = vec![
            event("1", "urn:a", r#"{"k":1}"#),
            event("2", "urn:a", r#"{"k":2}"#),
        ];
        service
            .ready()
            .await
            .unwrap()
            .call(batch(events))
            .await
            .unwrap();
        states.dead_lettered(&[DeadLetter::new(
            event("1", "urn:a", "{}"),
            "sink/main",
            "too_large",
            "no",
        )]);
        // The removal is handed over by a task; whatever is handed over before `close` is written.
        tokio::task::yield_now().await;
        store.close().await;
    }
    let state = DedupState::open(
        "default/dedup",
        std::time::Duration::from_secs(3600),
        10,
        Some(Checkpoints::open(&file).unwrap()),
    )
    .unwrap();
    assert_eq!(state.len(), 1);
}

/// What a `dedup` does, said with a list: (key, id, second) in the order in which they were set.
struct Model {
    window: i64,
    max_entries: usize,
    set: Vec<(u8, u8, i64)>,
}

impl Model {
    fn passes(&mut self, now: i64, key: u8, id: u8) -> bool {
        self.set.retain(|(_, _, at)| at + self.window >= now);
        if let Some((_, setter, _)) = self.set.iter().find(|(known, _, _)| *known == key) {
            return *setter == id;
        }
        self.set.push((key, id, now));
        if self.set.len() > self.max_entries {
            self.set.remove(0);
        }
        true
    }
}

proptest::proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Few keys, seconds and places, so that the window's end and the bound are met again and again. An event has one key.
    #[test]
    fn the_window_and_the_bound_are_those_of_the_model(
        window in 1_i64..6,
        max_entries in 1_usize..5,
        events in proptest::collection::vec((0_i64..3, 0_u8..6, 0_u8..3, proptest::bool::weighted(0.1)), 0..60),
    ) {
        let config = config(json!({"window": format!("{window}s"), "max_entries": max_entries}));
        let states = LayerStates::default();
        let layer = DedupLayer::new(&config, "dedup", &states, "default/dedup");
        let step = layer.step();
        let mut model = Model { window, max_entries, set: Vec::new() };
        let mut now = 0;
        for (later, key, which, dies) in events {
            now += later;
            let id = key * 3 + which;
            let passed = passes(&step, now, &[(&id.to_string(), &key.to_string())]);
            let expected = model.passes(now, key, id);
            prop_assert_eq!(passed.len(), usize::from(expected), "key {} of {} at {}", key, id, now);
            prop_assert!(layer.state.len() <= max_entries);
            if expected && dies {
                let letter = DeadLetter::new(event(&id.to_string(), "urn:a", "{}"), "validate", "no", "no");
                states.dead_lettered(&[letter]);
                model.set.retain(|(_, setter, _)| *setter != id);
                now += 1;
            }
        }
    }
}

#[test]
fn events_without_a_key_are_counted() {
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    let figures = recorder.handle();
    metrics::with_local_recorder(&recorder, || {
        let step = step(&config(json!({})));
        let pairs = [("1", "null"), ("2", "\"x\""), ("3", "null")];
        assert_eq!(passes(&step, 0, &pairs), ["1", "2", "3"]);
    });
    let figures = figures.render();
    let counted = "headgate_dedup_events_without_key_total{step=\"dedup\"} 2";
    assert!(figures.lines().any(|line| line == counted), "{figures}");
}
