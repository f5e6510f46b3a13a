//! Logical messages, the outbox, and changed shapes.

use headgate_sdk::{DeadLetter, ExtensionValue, Op, Str, batch::Payload, envelope::legal_string};

use super::{
    super::table::Table,
    publisher::Publisher,
    settings::{DDL_PREFIX, Mark, PublishError},
};
use crate::{
    lsn::Lsn,
    pgoutput::{ColumnValue, Tuple},
    types::{Kind, write_json_string},
};

impl Publisher {
    /// A logical message: a mark of ours, DDL, or one of the application's.
    pub(super) fn emitted(
        &mut self,
        transactional: bool,
        lsn: Lsn,
        prefix: &str,
        content: &[u8],
    ) -> Result<Option<Mark>, PublishError> {
        if transactional {
            let transaction = self
                .transaction
                .as_mut()
                .ok_or(PublishError::OutsideTransaction)?;
            transaction.ordinal += 1;
        }
        if prefix == self.settings.mark_prefix {
            return Ok(mark(content, &self.settings.session));
        }
        let wanted = prefix == DDL_PREFIX
            || (!prefix.starts_with("headgate.")
                && crate::config::covers(&self.settings.messages, prefix));
        if transactional {
            let Some(transaction) = &mut self.transaction else {
                return Err(PublishError::OutsideTransaction);
            };
            if !wanted || transaction.foreign {
                return Ok(None);
            }
            if transaction.ordinal <= transaction.skip {
                transaction.begun = true;
                return Ok(None);
            }
            self.ensure_begun();
        } else {
            // Its LSN is the end of its record: whatever is settled up to there has it.
            if lsn <= self.settled.0 {
                return Ok(None);
            }
            self.settled = (lsn, 0);
            self.confirm = lsn;
            if !wanted {
                return Ok(None);
            }
        }
        self.message_event(transactional, lsn, prefix, content);
        Ok(None)
    }

    pub(super) fn message_event(
        &mut self,
        transactional: bool,
        lsn: Lsn,
        prefix: &str,
        content: &[u8],
    ) {
        let start = self.outgoing.start();
        let time = match &self.transaction {
            Some(transaction) if transactional => transaction.time,
            _ => self.recorded.as_microsecond(),
        };
        let out = &mut self.outgoing.data;
        out.extend_from_slice(b"{\"op\":\"m\",\"message\":{\"prefix\":");
        write_json_string(prefix, out);
        match std::str::from_utf8(content) {
            Ok(text) => {
                // A reader that knows the application's format finds JSON as JSON, everything else as a string.
                if serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok() {
                    out.extend_from_slice(b",\"json\":");
                    out.extend_from_slice(text.as_bytes());
                } else {
                    out.extend_from_slice(b",\"text\":");
                    write_json_string(text, out);
                }
            }
            Err(_) => {
                use base64::Engine;
                out.extend_from_slice(b",\"base64\":\"");
                let encoded = base64::engine::general_purpose::STANDARD.encode(content);
                out.extend_from_slice(encoded.as_bytes());
                out.push(b'"');
            }
        }
        out.extend_from_slice(b"},");
        out.extend_from_slice(&self.source_head);
        out.extend_from_slice(b"\"snapshot\":false,");
        match &self.transaction {
            Some(transaction) if transactional => transaction.write_tail(out),
            _ => {
                let millis = time.div_euclid(1000);
                let rest = format!(
                    "\"lsn\":{},\"ts_ms\":{millis}}},\"ts_ms\":{millis}}}",
                    lsn.0
                );
                out.extend_from_slice(rest.as_bytes());
            }
        }
        let mut event = if transactional {
            self.envelope("")
        } else {
            // The end of its record may be the place of the next commit's, hence a form of its own.
            let timeline = self.identity.timelines.of(lsn);
            let id = format!("{timeline}/{:016X}-m", lsn.0);
            let sequence = format!("{:016X}-", lsn.0);
            self.named(id.into(), sequence.into(), time)
        };
        event.event_type = if prefix == DDL_PREFIX {
            Str::new_static("postgres.ddl.executed.v1")
        } else {
            Str::new_static("postgres.message.emitted.v1")
        };
        event.subject = Some(legal_string(prefix).into());
        event.op = Some(Op::Message);
        self.outgoing.push(event, start, Payload::Json);
    }

    pub(super) fn outbox(&mut self, table: &Table, new: Tuple<'_>) {
        let Some(columns) = &table.outbox else {
            return;
        };
        let text = |at: usize| match new.columns().nth(at) {
            Some(ColumnValue::Text(text)) => std::str::from_utf8(text).ok(),
            _ => None,
        };
        let mut event = self.envelope("");
        let start = self.outgoing.start();
        event.subject = Some(table.subject.clone());
        let (Some(id), Some(event_type)) = (
            text(columns.id).filter(|id| !id.is_empty()),
            text(columns.event_type).filter(|t| !t.is_empty()),
        ) else {
            let mut letter = DeadLetter::new(
                event,
                "source",
                "malformed",
                format!(
                    "a row of the outbox table {} has no id or no type: both must be filled",
                    table.subject
                ),
            );
            letter.place = Some(table.subject.clone());
            self.outgoing.rejected.push(letter);
            return;
        };
        event.id = legal_string(id).into();
        event.correlationid = event.id.clone();
        event.event_type = legal_string(event_type).into();
        event.partitionkey = columns
            .key
            .and_then(text)
            .map(|key| legal_string(key).into());
        if let Some(topic) = columns.topic.and_then(text) {
            event
                .extensions
                .set("topic", ExtensionValue::String(legal_string(topic).into()));
        }
        let payload = text(columns.payload);
        let out = &mut self.outgoing.data;
        let kind = match (payload, &table.columns[columns.payload].kind) {
            (None, _) => Payload::None,
            (Some(text), Kind::Json) => {
                out.extend_from_slice(text.as_bytes());
                Payload::Json
            }
            (Some(text), Kind::Bytea) => {
                out.extend_from_slice(&unhex(text));
                event.datacontenttype = Str::new_static("application/octet-stream");
                Payload::Opaque
            }
            (Some(text), _) => {
                out.extend_from_slice(text.as_bytes());
                event.datacontenttype = Str::new_static("text/plain; charset=utf-8");
                Payload::Opaque
            }
        };
        self.outgoing.push(event, start, kind);
    }

    /// A table's shape changed: `data` says from what to what. Belongs before the next message.
    pub(crate) fn schema_event(&mut self, table: &Table, data: &[u8]) {
        let skipped = self
            .transaction
            .as_ref()
            .is_none_or(|t| t.ordinal < t.skip || t.foreign);
        if skipped {
            return;
        }
        let start = self.outgoing.start();
        self.outgoing.data.extend_from_slice(data);
        let next = self.transaction.as_ref().map_or(0, |t| t.ordinal + 1);
        let mut event = self.envelope(&format!(".{next}.schema.{}", table.relation.id));
        event.event_type = Str::new_static("postgres.schema.changed.v1");
        event.subject = Some(table.subject.clone());
        self.outgoing.push(event, start, Payload::Json);
    }
}

fn mark(content: &[u8], session: &str) -> Option<Mark> {
    let mut parts = std::str::from_utf8(content).ok()?.split(' ');
    if parts.next()? != session {
        return None;
    }
    let (word, window) = (parts.next()?, parts.next()?.parse().ok()?);
    match word {
        "low" => Some(Mark::Low {
            window,
            relation: parts.next()?.parse().ok()?,
        }),
        "high" => Some(Mark::High { window }),
        _ => None,
    }
}

fn unhex(text: &str) -> Vec<u8> {
    let digit = |byte: u8| (byte as char).to_digit(16).unwrap_or(0);
    text.strip_prefix("\\x")
        .unwrap_or_default()
        .as_bytes()
        .chunks_exact(2)
        .map(|pair| u8::try_from(digit(pair[0]) << 4 | digit(pair[1])).unwrap_or(0))
        .collect()
}
