use std::{future::Ready, sync::Arc, task::Poll};

use headgate_sdk::{Data, Envelope, LaneId, Replay, Timestamp};
use serde_json::json;
use tower::{Layer, Service, ServiceExt};

use super::RateLimitLayer;
use crate::pipeline::{LaneContext, LayerStates, PipelineBatch, PipelineError};

/// Hands the batch back.
struct End;

impl Service<PipelineBatch> for End {
    type Response = PipelineBatch;
    type Error = PipelineError;
    type Future = Ready<Result<PipelineBatch, PipelineError>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> Poll<Result<(), PipelineError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, batch: PipelineBatch) -> Self::Future {
        std::future::ready(Ok(batch))
    }
}

/// A batch of events whose ids are their places.
fn batch(types: &[&str]) -> PipelineBatch {
    let lane = LaneContext {
        id: LaneId::from_stored("lane"),
        source: "s".into(),
        tenant: "default".into(),
        replay: Replay::FromSource,
        shard: 0,
    };
    let event = |(at, event_type): (usize, &&str)| {
        let (id, data) = (at.to_string(), Data::json("{}"));
        Envelope::new(id, "urn:s", *event_type, Timestamp::UNIX_EPOCH, data)
    };
    PipelineBatch::new(
        Arc::new(lane),
        types.iter().enumerate().map(event).collect(),
    )
}

fn layer(on_limit: &str) -> RateLimitLayer {
    let config = json!({"types": ["order.*"], "limit": "2/day", "on_limit": on_limit});
    let config = serde_json::from_value(config).unwrap();
    RateLimitLayer::new(
        &config,
        "rate_limit",
        &LayerStates::default(),
        "p/rate_limit",
    )
}

#[test]
fn other_types_pass_without_being_counted() {
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    let figures = recorder.handle();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let run = async {
        let mut service = layer("dead_letter").layer(End);
        let ready = service.ready().await.unwrap();
        let types = ["ping.v1", "order.v1", "ping.v1", "order.v1", "order.v2"];
        let out = ready.call(batch(&types)).await.unwrap();
        let passed: Vec<&str> = out.events.iter().map(|event| event.id.as_str()).collect();
        assert_eq!(passed, ["0", "1", "2", "3"]);
        assert_eq!(out.rejected.len(), 1);
        let letter = &out.rejected[0];
        assert_eq!(
            (letter.envelope.id.as_str(), letter.reason.as_str()),
            ("4", "rate_limited")
        );
        let ready = service.ready().await.unwrap();
        let out = ready.call(batch(&["ping.v1"; 10])).await.unwrap();
        assert_eq!((out.events.len(), out.rejected.len()), (10, 0));
    };
    metrics::with_local_recorder(&recorder, || runtime.block_on(run));
    let figures = figures.render();
    let counted = figures
        .lines()
        .find(|line| line.starts_with("headgate_pipeline_rate_limited_events_total{"));
    assert!(counted.unwrap().ends_with("} 1"), "{figures}");
}

#[tokio::test]
async fn nothing_waits_for_a_limit_of_other_types() {
    let layer = layer("wait");
    for _ in 0..2 {
        layer.limiter().charge(&"s".into()).unwrap();
    }
    let mut service = layer.layer(End);
    let ready = service.ready().await.unwrap();
    let out = ready.call(batch(&["ping.v1"; 10])).await.unwrap();
    assert_eq!(out.events.len(), 10);
    // One that is counted would wait for half a day.
    let mut waiting = service.ready().await.unwrap().call(batch(&["order.v1"]));
    assert!(futures::poll!(&mut waiting).is_pending());
}
