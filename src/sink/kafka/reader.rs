//! Reads topics again: for replays, and to find an event.
//!
//! Nothing is kept at the cluster: no group, no commits. Only what is committed is seen. Where reading ends is taken when it
//! begins, so that it comes to an end however fast the topics grow; memory is bounded by what the client fetches ahead.

use std::{
    ops::ControlFlow,
    time::{Duration, Instant},
};

use bytes::Bytes;
use headgate_sdk::{Str, Timestamp, envelope::kafka, pattern::matches};
use rdkafka::{
    Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, KafkaResult},
    message::{BorrowedMessage, Headers as _},
    metadata::MetadataTopic,
    types::RDKafkaErrorCode as Code,
};

use super::{Config, client, error::explain};
use crate::sink::Record;

/// How long the cluster has to answer a question.
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest that reading may go without news.
const STALLED: Duration = Duration::from_secs(30);
/// One look for the next record.
const LOOK: Duration = Duration::from_millis(100);
/// What may be fetched ahead, in kB.
const AHEAD: &str = "16384";

/// A cluster's topics, to be read. Connects when asked.
#[derive(Clone, Debug)]
pub struct TopicReader {
    config: Config,
    group: Str,
}

/// What is left to be read of a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// The topic.
    pub topic: Str,
    /// The partition.
    pub partition: i32,
    /// The next offset.
    pub next: i64,
    /// The offset before which it ends.
    pub end: i64,
}

/// A record of a topic.
#[derive(Debug)]
pub struct Found {
    /// The event, with its topic, key and headers; or why it is none of ours.
    pub record: Result<Box<Record>, &'static str>,
    /// The topic.
    pub topic: Str,
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
    /// The record's time: when it was handed over.
    pub written: Timestamp,
}

/// Topics cannot be read; says what to do.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct ReadError(String);

impl TopicReader {
    /// A reader of the cluster of `config`, for a gateway of `group`, whose own topics no pattern means.
    #[must_use]
    pub fn new(config: Config, group: Str) -> Self {
        Self { config, group }
    }

    /// Everything that the topics of these names (`*` stands for any characters) hold now from `since` on. Blocks.
    ///
    /// # Errors
    /// [`ReadError`] if the cluster does not answer, or has no such topic.
    pub fn spans(
        &self,
        patterns: &[String],
        since: Option<Timestamp>,
    ) -> Result<Vec<Span>, ReadError> {
        let consumer = self.consumer()?;
        let metadata = consumer
            .fetch_metadata(None, PATIENCE)
            .map_err(|error| said(&error, ""))?;
        let mut spans = Vec::new();
        for topic in metadata.topics() {
            let name = topic.name();
            if self.is_internal(name) || !patterns.iter().any(|pattern| matches(pattern, name)) {
                continue;
            }
            let failed = |error: &KafkaError| said(error, name);
            let mut starts = TopicPartitionList::new();
            let mut of_topic = Vec::new();
            for partition in topic.partitions() {
                let (first, end) = consumer
                    .fetch_watermarks(name, partition.id(), PATIENCE)
                    .map_err(|error| failed(&error))?;
                if let Some(since) = since {
                    let at = Offset::Offset(since.as_millisecond());
                    starts
                        .add_partition_offset(name, partition.id(), at)
                        .map_err(|error| failed(&error))?;
                }
                of_topic.push(Span {
                    topic: name.into(),
                    partition: partition.id(),
                    next: first,
                    end,
                });
            }
            if since.is_some() {
                let found = consumer
                    .offsets_for_times(starts, PATIENCE)
                    .map_err(|error| failed(&error))?;
                for span in &mut of_topic {
                    let start = found.find_partition(name, span.partition);
                    span.next = match start.map(|start| start.offset()) {
                        Some(Offset::Offset(offset)) => offset.max(span.next),
                        // Nothing is that young.
                        _ => span.end,
                    };
                }
            }
            spans.extend(of_topic);
        }
        if spans.is_empty() {
            return Err(ReadError(format!(
                "the cluster has no topic `{}`, or this user may not DESCRIBE it",
                patterns.join("`, `")
            )));
        }
        spans.sort_by(|a, b| (&a.topic, a.partition).cmp(&(&b.topic, b.partition)));
        Ok(spans)
    }

    /// Shows the records of `spans` to `each`, topic after topic, until it breaks, all is read, or `patience` is over; `spans` then
    /// say what is left. Those of a partition come in their order. Blocks.
    ///
    /// # Errors
    /// [`ReadError`] if the cluster does not answer, or a topic has gone; `spans` say how far it came.
    pub fn read(
        &self,
        spans: &mut [Span],
        patience: Duration,
        mut each: impl FnMut(Found) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        let began = Instant::now();
        let gone = self.leave_out_gone(spans)?;
        let open = |span: &Span| span.next < span.end;
        while let Some(first) = spans.iter().position(open) {
            let topic = spans[first].topic.clone();
            let failed = |error: &KafkaError| said(error, &topic);
            let consumer = self.consumer()?;
            let mut assignment = TopicPartitionList::new();
            for span in spans.iter().filter(|s| s.topic == topic && open(s)) {
                assignment
                    .add_partition_offset(&topic, span.partition, Offset::Offset(span.next))
                    .map_err(|error| failed(&error))?;
            }
            consumer
                .assign(&assignment)
                .map_err(|error| failed(&error))?;
            let mut news = Instant::now();
            while spans.iter().any(|s| s.topic == topic && open(s)) {
                match consumer.poll(LOOK) {
                    None => {}
                    Some(Ok(message)) => {
                        news = Instant::now();
                        let Some(span) = of(spans, &topic, message.partition()) else {
                            continue;
                        };
                        if message.offset() >= span.end {
                            span.next = span.end;
                            continue;
                        }
                        span.next = message.offset() + 1;
                        if each(found(&topic, &message)).is_break() {
                            return Ok(());
                        }
                    }
                    Some(Err(KafkaError::PartitionEOF(partition))) => {
                        news = Instant::now();
                        if let Some(span) = of(spans, &topic, partition) {
                            span.next = span.end;
                        }
                    }
                    Some(Err(error)) => {
                        tracing::debug!(%error, %topic, "reading a topic again");
                        if error.rdkafka_error_code().is_some_and(is_lasting) {
                            return Err(failed(&error));
                        }
                    }
                }
                if began.elapsed() > patience {
                    return Ok(());
                }
                if news.elapsed() > STALLED {
                    return Err(ReadError(format!(
                        "reading topic `{topic}` gets no answer; check that the cluster runs, and that this user may READ it"
                    )));
                }
            }
        }
        match gone {
            None => Ok(()),
            Some(topic) => Err(ReadError(format!(
                "topic `{topic}` does not exist any more"
            ))),
        }
    }

    /// Takes topics that do not exist as read; returns the first of them. Waiting for one to answer takes half a minute.
    fn leave_out_gone(&self, spans: &mut [Span]) -> Result<Option<Str>, ReadError> {
        let metadata = self
            .consumer()?
            .fetch_metadata(None, PATIENCE)
            .map_err(|error| said(&error, ""))?;
        let mut gone = None;
        for span in spans {
            let exists = |topic: &MetadataTopic| topic.name() == span.topic;
            if span.next < span.end && !metadata.topics().iter().any(exists) {
                span.next = span.end;
                gone.get_or_insert_with(|| span.topic.clone());
            }
        }
        Ok(gone)
    }

    /// Topics that hold no events of sources.
    fn is_internal(&self, name: &str) -> bool {
        let of_group = name
            .strip_prefix(self.group.as_str())
            .is_some_and(|rest| rest == ".checkpoints" || rest == ".dead-letters");
        of_group || name.starts_with("__")
    }

    fn consumer(&self) -> Result<BaseConsumer, ReadError> {
        let made: KafkaResult<BaseConsumer> = client::connection(&self.config)
            // The client wants a name; nothing is kept under it.
            .set("group.id", "headgate-reader")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("enable.partition.eof", "true")
            .set("auto.offset.reset", "earliest")
            .set("isolation.level", "read_committed")
            .set("fetch.queue.backoff.ms", "10")
            .set("fetch.wait.max.ms", "100")
            .set("queued.max.messages.kbytes", AHEAD)
            .create();
        made.map_err(|error| ReadError(format!("{error}; check the sink's settings")))
    }
}

fn of<'a>(spans: &'a mut [Span], topic: &Str, partition: i32) -> Option<&'a mut Span> {
    let is_it = |span: &&mut Span| span.topic == *topic && span.partition == partition;
    spans.iter_mut().find(is_it)
}

fn found(topic: &Str, message: &BorrowedMessage<'_>) -> Found {
    let ms = message.timestamp().to_millis().unwrap_or(0);
    Found {
        record: decode(topic, message).map(Box::new),
        topic: topic.clone(),
        partition: message.partition(),
        offset: message.offset(),
        written: Timestamp::from_millisecond(ms).unwrap_or(Timestamp::UNIX_EPOCH),
    }
}

fn decode(topic: &Str, message: &BorrowedMessage<'_>) -> Result<Record, &'static str> {
    let headers: Vec<(&str, Option<&[u8]>)> = message.headers().map_or_else(Vec::new, |headers| {
        headers
            .iter()
            .map(|header| (header.key, header.value))
            .collect()
    });
    let value = message.payload().map(Bytes::copy_from_slice);
    if !kafka::is_event(headers.iter().copied()) {
        return Err("it is no CloudEvent");
    }
    let envelope = kafka::read(headers.iter().copied(), value.as_ref())
        .and_then(|event| event.into_envelope())
        .map_err(|_| "it is no event of Headgate's")?;
    let text = |bytes: &[u8]| std::str::from_utf8(bytes).map(Str::new);
    let key = match message.key() {
        None => None,
        Some(key) => Some(text(key).map_err(|_| "its key is no text")?),
    };
    let is_envelopes = |name: &str| {
        name.starts_with("ce_") || name == kafka::CONTENT_TYPE || name == "traceparent"
    };
    let mut others = Vec::new();
    for (name, value) in headers {
        if !is_envelopes(name) {
            let value = text(value.unwrap_or_default()).map_err(|_| "a header is no text")?;
            others.push((Str::new(name), value));
        }
    }
    Ok(Record {
        envelope,
        topic: topic.clone(),
        key,
        headers: others,
    })
}

/// Whether waiting does not help.
fn is_lasting(code: Code) -> bool {
    matches!(
        code,
        Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::UnknownTopic
            | Code::UnknownTopicOrPartition
            | Code::UnknownPartition
            | Code::Authentication
            | Code::SaslAuthenticationFailed
    )
}

fn said(error: &KafkaError, topic: &str) -> ReadError {
    ReadError(match error.rdkafka_error_code() {
        Some(code) => explain(code, topic),
        None => error.to_string(),
    })
}
