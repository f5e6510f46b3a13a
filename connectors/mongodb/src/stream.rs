//! A change stream as the server's own command and its raw replies.
//!
//! The driver's change stream resumes by itself, at once and without end, and copies each event; here the source decides when and
//! where to resume, and replies are read where they lie. Cursor, sessions, server selection and sockets remain the driver's.

use std::time::Duration;

use futures::StreamExt;
use mongodb::{
    Client,
    bson::{Bson, Document, RawArray, RawBsonRef, RawDocument, Timestamp, doc},
    error::Error,
    options::{CursorType, SelectionCriteria},
    raw_batch_cursor::{RawBatch, RawBatchCursor},
};

use crate::{
    config::{BeforeChange, Checked, FullDocument},
    failure,
};

/// Where a stream starts.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Start {
    /// After this token.
    After(Document),
    /// With the first change at or after this time.
    At(Timestamp),
    /// With what happens from now on.
    Now,
}

/// What the server is known not to understand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Abilities {
    /// `startAfter` is refused (servers before 4.2).
    pub(crate) no_start_after: bool,
    /// `$changeStreamSplitLargeEvent` is refused (servers before 6.0.9).
    pub(crate) no_split: bool,
}

/// How a stream is read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// How long the server waits before it answers with nothing.
    pub(crate) wait: Duration,
    /// One event a reply: to find one that is too large.
    pub(crate) single: bool,
    /// Only keys: to pass one that is too large.
    pub(crate) thin: bool,
}

/// An open stream.
pub(crate) struct ChangeStream {
    cursor: RawBatchCursor,
}

/// One reply of the server.
pub(crate) struct Reply(RawBatch);

impl ChangeStream {
    /// Opens a stream. `startAfter` is tried first (it alone resumes after an invalidate), `resumeAfter` where it is refused; what
    /// the server turned out not to know is noted in `abilities`.
    ///
    /// # Errors
    /// What the server or the driver said.
    pub(crate) async fn open(
        client: &Client,
        config: &Checked,
        start: &Start,
        pace: Pace,
        abilities: &mut Abilities,
    ) -> Result<Self, Error> {
        loop {
            let tried = *abilities;
            match Self::try_open(client, config, start, pace, tried).await {
                Ok(stream) => return Ok(stream),
                Err(error) => match (failure::code(&error), start) {
                    (Some(failure::UNKNOWN_FIELD), Start::After(_)) if !tried.no_start_after => {
                        abilities.no_start_after = true;
                    }
                    (Some(failure::UNRECOGNIZED_STAGE), _) if !tried.no_split && !pace.thin => {
                        abilities.no_split = true;
                    }
                    _ => return Err(error),
                },
            }
        }
    }

    async fn try_open(
        client: &Client,
        config: &Checked,
        start: &Start,
        pace: Pace,
        abilities: Abilities,
    ) -> Result<Self, Error> {
        let database = client.database(config.scope.database());
        let command = client_command(config, start, pace, abilities);
        let mut request = database
            .run_cursor_command(command)
            .cursor_type(CursorType::TailableAwait)
            .max_time(pace.wait);
        if pace.single || pace.thin {
            request = request.batch_size(1);
        }
        if let Some(criteria) = client.selection_criteria() {
            request = request.selection_criteria(SelectionCriteria::clone(criteria));
        }
        let cursor = Box::pin(request.batch()).await?;
        Ok(Self { cursor })
    }

    /// The next reply, which may hold no events; `None` once the server has closed the stream. Cancel safe.
    ///
    /// # Errors
    /// What the server or the driver said; the stream is of no more use then.
    pub(crate) async fn next(&mut self) -> Option<Result<Reply, Error>> {
        Some(self.cursor.next().await?.map(Reply))
    }
}

impl Reply {
    /// Its events.
    ///
    /// # Errors
    /// If it is no reply to a cursor.
    pub(crate) fn events(&self) -> Result<&RawArray, Error> {
        self.0.doc_slices()
    }

    /// The token that may be stored once all its events are done.
    pub(crate) fn token(&self) -> Option<&RawDocument> {
        let cursor = self.0.as_raw_document().get_document("cursor").ok()?;
        cursor.get_document("postBatchResumeToken").ok()
    }

    /// Up to where the answering server's majority had come.
    pub(crate) fn operation_time(&self) -> Option<Timestamp> {
        operation_time(self.0.as_raw_document())
    }
}

/// `operationTime` of any reply.
pub(crate) fn operation_time(reply: &RawDocument) -> Option<Timestamp> {
    match reply.get("operationTime") {
        Ok(Some(RawBsonRef::Timestamp(at))) => Some(at),
        _ => None,
    }
}

fn client_command(config: &Checked, start: &Start, pace: Pace, abilities: Abilities) -> Document {
    use crate::scope::Scope;
    let mut options = Document::new();
    if matches!(config.scope, Scope::Deployment { .. }) {
        options.insert("allChangesForCluster", true);
    }
    if !pace.thin {
        if config.full_document != FullDocument::Default {
            options.insert("fullDocument", config.full_document.word());
        }
        if config.before != BeforeChange::Off {
            options.insert("fullDocumentBeforeChange", config.before.word());
        }
    }
    if config.expanded {
        options.insert("showExpandedEvents", true);
    }
    match start {
        Start::After(token) if abilities.no_start_after => {
            options.insert("resumeAfter", token.clone())
        }
        Start::After(token) => options.insert("startAfter", token.clone()),
        Start::At(at) => options.insert("startAtOperationTime", *at),
        Start::Now => None,
    };
    let mut stages = vec![doc! { "$changeStream": options }];
    stages.extend(config.scope.stage());
    stages.extend(config.pipeline.iter().cloned());
    if pace.thin {
        stages.push(doc! { "$project": {
            "operationType": 1, "ns": 1, "documentKey": 1, "clusterTime": 1, "wallTime": 1, "lsid": 1, "txnNumber": 1,
        } });
    } else if !abilities.no_split {
        stages.push(doc! { "$changeStreamSplitLargeEvent": {} });
    }
    let target = match &config.scope {
        Scope::Collection { collection, .. } => Bson::String(collection.clone()),
        _ => Bson::Int32(1),
    };
    let cursor = if pace.single || pace.thin {
        doc! { "batchSize": 1 }
    } else {
        doc! {}
    };
    doc! { "aggregate": target, "pipeline": stages, "cursor": cursor }
}

#[cfg(test)]
mod tests {
    use headgate_sdk::SourceInfo;
    use serde_json::json;

    use super::*;

    fn checked(config: serde_json::Value) -> Checked {
        let info = SourceInfo {
            name: "shop".into(),
            tenant: "default".into(),
            urn: "urn:x".into(),
            group: "g".into(),
            instance: "0".into(),
            public_url: None,
        };
        Checked::new(serde_json::from_value(config).unwrap(), &info).unwrap()
    }

    #[test]
    fn commands_say_what_the_configuration_says() {
        let pace = Pace {
            wait: Duration::from_secs(1),
            single: false,
            thin: false,
        };
        let after = Start::After(doc! { "_data": "82" });
        let url = "mongodb://h/";
        let all = checked(json!({ "url": url }));
        let some = checked(json!({
            "url": url, "database": "shop", "collections": ["o*"], "full_document": "required",
            "full_document_before_change": "when_available", "show_expanded_events": true,
            "pipeline": [{ "$match": { "operationType": "insert" } }],
        }));
        let one = checked(
            json!({ "url": url, "database": "shop", "collections": ["orders"], "full_document": "default" }),
        );
        let old = Abilities {
            no_start_after: true,
            no_split: true,
        };
        let commands = [
            client_command(&all, &Start::Now, pace, Abilities::default()),
            client_command(&some, &after, pace, Abilities::default()),
            client_command(
                &some,
                &after,
                Pace { thin: true, ..pace },
                Abilities::default(),
            ),
            client_command(
                &one,
                &after,
                Pace {
                    single: true,
                    ..pace
                },
                old,
            ),
            client_command(
                &one,
                &Start::At(Timestamp {
                    time: 7,
                    increment: 1,
                }),
                pace,
                Abilities::default(),
            ),
        ];
        insta::assert_snapshot!(commands.map(|c| c.to_string()).join("\n"));
    }
}
