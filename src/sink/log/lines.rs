//! The log as lines of JSON: what `headgate tail` and `/api/v1/log` give.

use std::collections::VecDeque;
use std::sync::Arc;

use futures::{StreamExt, stream};
use headgate_sdk::envelope::json::Writer;
use headgate_sdk::pattern::matches;
use headgate_sdk::{Str, Timestamp};

use super::reader::{LogReader, Start};
use super::record::Logged;
use super::{EmbeddedLog, LogError};
use crate::admin::{GatewayError, LogLines, LogQuery, instant};
use crate::segment::Sequence;

/// How much is read at once.
const CHUNK_BYTES: usize = 256 << 10;

/// The events that `query` asks for, each a structured-mode CloudEvent on a line, with its position as the number
/// `logposition`.
///
/// A query that names no place to begin, and does not follow, begins at the oldest event. A group's cursor moves past a line
/// once the line after it was asked for, so that a reader that is cut off gets its last lines again.
pub fn lines(log: &Arc<EmbeddedLog>, query: &LogQuery) -> Result<LogLines, GatewayError> {
    let since = query.since.as_deref().map(instant).transpose()?;
    let group = query.group.as_deref().map(Str::new);
    let start = match (&group, query.after, since) {
        (Some(group), None, _) => Start::Group(group.clone()),
        (_, Some(position), _) => Start::After(position),
        (None, None, Some(instant)) => Start::Since(instant),
        (None, None, None) if query.from_start || !query.follow => Start::Oldest,
        (None, None, None) => Start::Now,
    };
    let tail = Tail {
        reader: log.reader(start),
        filter: Filter {
            source: query.source.clone(),
            kind: query.kind.clone(),
            since,
        },
        group,
        follow: query.follow,
        writer: Writer::new(),
        ready: VecDeque::new(),
        given: None,
    };
    Ok(stream::unfold(tail, |mut tail| async move {
        let line = tail
            .next()
            .await
            .map_err(|error| GatewayError::Failed(error.to_string()))
            .transpose()?;
        Some((line, tail))
    })
    .boxed())
}

struct Tail {
    reader: LogReader,
    filter: Filter,
    group: Option<Str>,
    follow: bool,
    writer: Writer,
    ready: VecDeque<String>,
    /// Up to where lines were given out that the group's cursor does not cover yet.
    given: Option<Sequence>,
}

impl Tail {
    async fn next(&mut self) -> Result<Option<String>, LogError> {
        loop {
            if let Some(line) = self.ready.pop_front() {
                return Ok(Some(line));
            }
            if let (Some(group), Some(given)) = (&self.group, self.given.take()) {
                self.reader.store_cursor(group, given).await?;
            }
            let events = if self.follow {
                self.reader.next(CHUNK_BYTES).await?
            } else {
                self.reader.read(CHUNK_BYTES).await?
            };
            if events.is_empty() {
                return Ok(None);
            }
            self.given = Some(self.reader.position());
            for event in events {
                if self.filter.takes(&event) {
                    self.ready.push_back(line(&event, &mut self.writer));
                }
            }
        }
    }
}

fn line(event: &Logged, writer: &mut Writer) -> String {
    let mut text = Vec::with_capacity(512);
    writer.write(&event.record.envelope, &mut text);
    let mut line = format!("{{\"logposition\":{},", event.position);
    // The writer writes valid UTF-8 and an object with at least the required attributes.
    line.push_str(&String::from_utf8_lossy(&text[1..]));
    line
}

struct Filter {
    source: Option<String>,
    kind: Option<String>,
    since: Option<Timestamp>,
}

impl Filter {
    fn takes(&self, event: &Logged) -> bool {
        self.source
            .as_deref()
            .is_none_or(|source| event.lane.source() == source)
            && self
                .kind
                .as_deref()
                .is_none_or(|kind| matches(kind, &event.record.envelope.event_type))
            && self.since.is_none_or(|since| event.delivered >= since)
    }
}
