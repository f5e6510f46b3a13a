//! Looks for an event in topics.
//!
//! No index says where an event is: the ledger says, per batch, between which offsets to look.

use std::{collections::VecDeque, ops::ControlFlow, time::Duration};

use headgate_sdk::{LaneId, Str, Timestamp};

use super::{
    Delivered, Ledger, Place, Places, Run, Traced,
    find::{MOST, Sighting},
};
use crate::{
    segment::SegmentError,
    sink::{
        Landed, buffer,
        kafka::{Found, Span, TopicReader},
    },
};

/// How long one stretch may be looked through.
const PATIENCE: Duration = Duration::from_secs(20);
/// Runs that are remembered to say how what was found went.
const RUNS: usize = 10_000;

/// Adds what the topics have of the event.
pub(super) async fn look(
    places: &Places,
    ledger: &Ledger,
    traced: &mut Traced,
    id: &str,
    since: Option<Timestamp>,
) -> Result<(), SegmentError> {
    let everything = since.is_some() || traced.received.is_empty();
    for (sink, reader) in &places.topics {
        let mut runs = of_received(ledger, traced, sink).await?;
        // One stretch after the other: what lies between two of them is not read.
        let stretches = runs.iter().map(|run| run.landed.clone());
        let mut searches: Vec<Vec<Span>> = stretches.map(spans).collect();
        if everything {
            let (landed, all) = since_then(ledger, sink, since).await?;
            searches.push(spans(landed));
            runs.extend(all);
        }
        for search in searches {
            if !search.is_empty() {
                look_in(sink, reader, search, &runs, traced, id).await;
            }
        }
    }
    Ok(())
}

/// How the batches went that the journal's records of the event were in; behind a buffer, how those went that the buffer's were in.
async fn of_received(
    ledger: &Ledger,
    traced: &Traced,
    sink: &Str,
) -> Result<Vec<Run>, SegmentError> {
    let of_sink = traced.received.iter().flat_map(|one| &one.runs);
    let (mut direct, mut buffered) = (Vec::new(), Vec::new());
    for run in of_sink.filter(|run| run.sink == *sink) {
        if !run.landed.topics.is_empty() {
            direct.push(run.clone());
        } else if let Some(positions) = run.landed.log {
            buffered.push((positions, false));
        }
    }
    if buffered.is_empty() {
        return Ok(direct);
    }
    let lane = buffer::lane_of(sink);
    ledger
        .each(|run| {
            if run.lane != lane.as_str() {
                return;
            }
            let mut wanted = false;
            for ((first, last), done) in &mut buffered {
                // Its batches are numbered by the position of their last record.
                if !*done && run.last >= *first {
                    wanted = true;
                    *done = run.last >= *last;
                }
            }
            if wanted {
                direct.push(run);
            }
        })
        .await?;
    Ok(direct)
}

/// Where everything lies that the sink got since then, and how the last batches of it went.
async fn since_then(
    ledger: &Ledger,
    sink: &Str,
    since: Option<Timestamp>,
) -> Result<(Landed, Vec<Run>), SegmentError> {
    let since_ms = since.map_or(i64::MIN, Timestamp::as_millisecond);
    let (mut landed, mut runs) = (Landed::default(), VecDeque::new());
    ledger
        .each(|run| {
            let is_wanted = run.sink == *sink && run.durable_ms >= since_ms;
            if is_wanted && !run.landed.topics.is_empty() {
                landed.extend(&run.landed);
                if runs.len() == RUNS {
                    runs.pop_front();
                }
                runs.push_back(run);
            }
        })
        .await?;
    Ok((landed, runs.into()))
}

fn spans(landed: Landed) -> Vec<Span> {
    let mut spans: Vec<Span> = landed
        .topics
        .into_iter()
        .map(|stretch| Span {
            topic: stretch.topic,
            partition: stretch.partition,
            next: stretch.first,
            end: stretch.last + 1,
        })
        .collect();
    spans.sort_by(|a, b| (&a.topic, a.partition).cmp(&(&b.topic, b.partition)));
    spans
}

async fn look_in(
    sink: &Str,
    reader: &TopicReader,
    mut left: Vec<Span>,
    runs: &[Run],
    traced: &mut Traced,
    id: &str,
) {
    let (reader, wanted) = (reader.clone(), id.to_owned());
    let looking = tokio::task::spawn_blocking(move || {
        let mut found = Vec::new();
        let read = reader.read(&mut left, PATIENCE, |one| {
            if one.record.as_ref().is_ok_and(|r| r.envelope.id == wanted) {
                found.push(one);
            }
            match found.len() < MOST {
                true => ControlFlow::Continue(()),
                false => ControlFlow::Break(()),
            }
        });
        (found, read, left)
    });
    let Ok((found, read, left)) = looking.await else {
        return;
    };
    let full = found.len() >= MOST;
    for one in found {
        add(sink, one, runs, traced);
    }
    match read {
        Err(error) => traced.gaps.push(format!(
            "the topics of sink `{sink}` were not looked through: {error}"
        )),
        Ok(()) if !full => {
            let unread: i64 = left.iter().map(|span| (span.end - span.next).max(0)).sum();
            if unread > 0 {
                traced.gaps.push(format!(
                    "{unread} offsets of topics of sink `{sink}` were not looked through in time: narrow it with `--since`"
                ));
            }
        }
        Ok(()) => {}
    }
}

fn add(sink: &Str, found: Found, runs: &[Run], traced: &mut Traced) {
    let Ok(record) = found.record else { return };
    let place = Place::Partition {
        partition: found.partition,
        offset: found.offset,
    };
    let is_it = |known: &Delivered| {
        known.sink == *sink && known.topic == found.topic && known.place == place
    };
    if traced.delivered.len() >= MOST || traced.delivered.iter().any(is_it) {
        return;
    }
    // Stretches of several lanes may hold the place: the event's source tells whose it is.
    let source = record.envelope.source.split(':').nth(4).unwrap_or_default();
    let holds = |run: &&Run| run.holds(sink, &found.topic, place);
    let of_source = |run: &&Run| LaneId::from_stored(run.lane.clone()).source() == source;
    let run = runs
        .iter()
        .filter(holds)
        .find(of_source)
        .or_else(|| runs.iter().find(holds));
    traced.delivered.push(Delivered {
        event: Sighting::of(&record.envelope),
        sink: sink.clone(),
        topic: found.topic,
        lane: run.map(|run| LaneId::from_stored(run.lane.clone())),
        place,
        at: found.written,
        run: run.cloned(),
    });
}
