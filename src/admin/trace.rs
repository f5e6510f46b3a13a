//! Traces as the API shows them, with or without a gateway running.

use headgate_sdk::Timestamp;

use super::api::{
    Trace, TraceDelivered, TracePositions, TraceQuery, TraceReceived, TraceRun, TraceStretch,
};
use super::dead_letters;
use super::gateway::{GatewayError, instant};
use crate::trace::{self, Place, Places, Run};

/// What is known about the event of this id.
pub(super) async fn find(
    places: &Places,
    id: &str,
    query: &TraceQuery,
    gap: Option<String>,
) -> Result<Trace, GatewayError> {
    let since = query.since.as_deref().map(instant).transpose()?;
    let mut traced = trace::find(places, id, since)
        .await
        .map_err(GatewayError::Failed)?;
    traced.gaps.extend(gap);
    if traced.received.is_empty() && traced.delivered.is_empty() && traced.dead.is_empty() {
        return Err(GatewayError::NotFound(format!(
            "nothing is known of an event `{id}`: neither the journal, nor an embedded log, nor a topic as far as the ledger reaches, nor \
             the dead letters hold it now{}",
            traced
                .gaps
                .iter()
                .map(|gap| format!("; {gap}"))
                .collect::<String>()
        )));
    }
    let received = traced.received.into_iter().map(|one| TraceReceived {
        source: one.event.source.to_string(),
        kind: one.event.event_type.to_string(),
        recorded: one.event.recorded.to_string(),
        replayid: one.event.replayid.map(|id| id.to_string()),
        lane: one.lane.to_string(),
        position: one.position,
        waits: one.waits,
        runs: one.runs.iter().map(run).collect(),
    });
    let delivered = traced.delivered.into_iter().map(|one| {
        let (position, partition, offset) = match one.place {
            Place::Log { position } => (Some(position), None, None),
            Place::Partition { partition, offset } => (None, Some(partition), Some(offset)),
        };
        TraceDelivered {
            source: one.event.source.to_string(),
            kind: one.event.event_type.to_string(),
            recorded: one.event.recorded.to_string(),
            replayid: one.event.replayid.map(|id| id.to_string()),
            sink: one.sink.to_string(),
            topic: one.topic.to_string(),
            lane: one.lane.map(|lane| lane.to_string()),
            position,
            partition,
            offset,
            delivered: one.at.to_string(),
            run: one.run.as_ref().map(run),
        }
    });
    Ok(Trace {
        id: id.to_owned(),
        received: received.collect(),
        delivered: delivered.collect(),
        dead_letters: traced
            .dead
            .iter()
            .map(|kept| dead_letters::shown(kept, false))
            .collect(),
        gaps: traced.gaps,
    })
}

fn run(run: &Run) -> TraceRun {
    let instant = |ms| Timestamp::from_millisecond(ms).map(|instant| instant.to_string());
    TraceRun {
        sink: run.sink.to_string(),
        batches: run.batches,
        events: run.events,
        attempts: run.attempts,
        refused: run.refused,
        begun: instant(run.begun_ms).unwrap_or_default(),
        durable: instant(run.durable_ms).unwrap_or_default(),
        log: run
            .landed
            .log
            .map(|(first, last)| TracePositions { first, last }),
        topics: run
            .landed
            .topics
            .iter()
            .map(|stretch| TraceStretch {
                topic: stretch.topic.to_string(),
                partition: stretch.partition,
                first: stretch.first,
                last: stretch.last,
            })
            .collect(),
    }
}
