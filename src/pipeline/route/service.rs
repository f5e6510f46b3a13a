//! Gives each event its destination.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use headgate_sdk::{DeadLetter, Envelope, Str};
use tower::Service;

use super::{Config, RoutedBatch, RoutedRecord, SinkSet, is_topic_name};
use crate::{pipeline::PipelineBatch, sink::Record};

/// Renders destinations in the call itself: it adds no future of its own.
#[derive(Debug)]
pub struct Route<S> {
    inner: S,
    config: Arc<Config>,
    sinks: SinkSet,
    step: Str,
    /// The topic rendered last for (tenant, type), because most batches have one.
    last_topic: Option<(Str, Str, Str)>,
    /// Whether the topic depends on nothing else.
    topic_is_plain: bool,
}

impl<S> Route<S> {
    pub(super) fn new(inner: S, config: Arc<Config>, sinks: SinkSet, step: Str) -> Self {
        let topic_is_plain = config.topic.to_string() == "{tenantid}.{type}";
        Self {
            inner,
            config,
            sinks,
            step,
            last_topic: None,
            topic_is_plain,
        }
    }

    fn topic(&mut self, event: &Envelope, lane: &str) -> Result<Str, (Str, String)> {
        if self.topic_is_plain
            && let Some((tenant, event_type, topic)) = &self.last_topic
            && *tenant == event.tenantid
            && *event_type == event.event_type
        {
            return Ok(topic.clone());
        }
        let topic = self.config.topic.render(event, lane).map_err(|hole| {
            let message = format!(
                "the topic `{}` needs `{hole}`, which this event lacks",
                self.config.topic
            );
            (Str::new_static("missing_attribute"), message)
        })?;
        if !is_topic_name(&topic) {
            let message = format!(
                "`{topic}` is no topic name: use 1 to 249 of [A-Za-z0-9._-], not starting with `__`; mend the route's `topic`"
            );
            return Err(("invalid_topic".into(), message));
        }
        self.last_topic = Some((
            event.tenantid.clone(),
            event.event_type.clone(),
            topic.clone(),
        ));
        Ok(topic)
    }

    fn record(&mut self, event: Envelope, lane: &str) -> Result<RoutedRecord, Box<DeadLetter>> {
        let topic = match self.topic(&event, lane) {
            Ok(topic) => topic,
            Err((reason, message)) => {
                return Err(Box::new(DeadLetter::new(
                    event,
                    self.step.clone(),
                    reason,
                    message,
                )));
            }
        };
        let key = self.config.key.render(&event, lane).ok();
        let headers = self.config.headers.iter();
        let headers = headers
            .filter_map(|(name, value)| Some((name.into(), value.render(&event, lane).ok()?)))
            .collect();
        Ok(RoutedRecord {
            record: Record {
                envelope: event,
                topic,
                key,
                headers,
            },
            sinks: self.sinks,
        })
    }
}

impl<S: Service<RoutedBatch>> Service<PipelineBatch> for Route<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, batch: PipelineBatch) -> S::Future {
        let PipelineBatch {
            lane,
            number,
            events,
            mut rejected,
            checkpoint,
        } = batch;
        let mut records = Vec::with_capacity(events.len());
        for event in events {
            match self.record(event, lane.id.as_str()) {
                Ok(record) => records.push(record),
                Err(letter) => rejected.push(*letter),
            }
        }
        self.inner.call(RoutedBatch {
            lane,
            number,
            records,
            rejected,
            checkpoint,
        })
    }
}
