//! Snapshots between the events of the stream.

use headgate_sdk::{Entry, SourceError};
use mongodb::{
    bson::{RawBsonRef, RawDocument, Timestamp},
    error::ErrorKind,
};

use super::{DriverError, LOST_ENTRY, SCOPE_ENTRY, engine::Engine};
use crate::{
    change::Change,
    config::SnapshotMode,
    deployment,
    event::SnapshotDocument,
    failure::{self, Failure},
    scope::Scope,
    snapshot::{Chunk, ChunkRequest, Finished, Outcome, Snapshots, Window},
};

impl Engine {
    /// Plans what is not yet planned, once it is known where the stream begins.
    pub(super) async fn plan_snapshots(&mut self) -> Result<(), SourceError> {
        let scope = self.parts.config.scope.text();
        let planned = self.parts.planned.clone();
        if !self.replan && planned.as_deref() == Some(scope.as_str()) {
            return Ok(());
        }
        let initial = self.parts.config.snapshot.mode == SnapshotMode::Initial;
        if self.replan || initial {
            let existing = deployment::collections(&self.parts.client, &self.parts.config.scope)
                .await
                .map_err(|error| super::ended(&error, &scope))?;
            let name = Snapshots::name();
            for collection in existing {
                let is_known = planned.as_deref().is_some_and(|text| {
                    Scope::text_covers(text, &collection.database, &collection.name)
                });
                if self.replan || !is_known {
                    let entry =
                        self.parts
                            .snapshots
                            .plan(&collection.namespace(), name.clone(), None);
                    self.store(Some(entry));
                }
            }
        }
        if self.replan {
            let lost = serde_json::to_vec(&self.parts.lost).unwrap_or_default();
            self.store(Some(Entry::put(LOST_ENTRY, lost)));
            self.replan = false;
        }
        self.store(Some(Entry::put(SCOPE_ENTRY, scope.clone().into_bytes())));
        self.parts.planned = Some(scope);
        self.flush().await?;
        self.plan = Some(self.last_delivery());
        Ok(())
    }

    /// Starts to read the next chunk, if there is one and nothing is read yet.
    pub(super) fn start_chunk(&mut self) {
        if self.window.is_some() {
            return;
        }
        if let Some(plan) = self.plan {
            if self.parts.lane.progress().now().durable < plan {
                return;
            }
            self.plan = None;
        }
        let limit = self.parts.config.snapshot.chunk_documents;
        if let Some(request) = self.parts.snapshots.request(limit) {
            self.read(Window::new(request, Outcome::default()));
        }
    }

    fn read(&mut self, window: Window) {
        let reading = window.request.clone().read(self.parts.client.clone());
        self.chunk = Some(Box::pin(reading));
        self.window = Some(window);
    }

    /// Takes what was read.
    pub(super) async fn loaded(
        &mut self,
        chunk: Result<Chunk, DriverError>,
    ) -> Result<(), SourceError> {
        let Some(window) = &mut self.window else {
            return Ok(());
        };
        let error = match chunk {
            Ok(chunk) => {
                window.load(chunk);
                self.chunk_backoff.reset();
                return Ok(());
            }
            Err(error) => error,
        };
        let namespace = format!("{}.{}", window.request.database, window.request.collection);
        let is_filtered = window.request.filter.is_some();
        let advice = failure::advice(&error, &namespace);
        // What was noted so far stays right: the same chunk is read again, under the same window.
        let request = window.request.clone();
        let client = self.parts.client.clone();
        match failure::classify_reading(&error) {
            Failure::Resume => {
                let pause = self.chunk_backoff.next();
                tracing::warn!(source = %self.parts.cx.source.name, ?pause, "a chunk of the snapshot is read again: {advice}");
                self.chunk = Some(Box::pin(async move {
                    tokio::time::sleep(pause).await;
                    request.read(client).await
                }));
                Ok(())
            }
            Failure::Restart if is_filtered && matches!(*error.kind, ErrorKind::Command(_)) => {
                self.parts.cx.status.warn(
                    format!("snapshot/{namespace}"),
                    format!("the snapshot was given up, probably because of its filter: {advice}"),
                );
                let entry = self.parts.snapshots.end(&namespace);
                self.store(entry);
                self.window = None;
                Ok(())
            }
            Failure::Stop | Failure::NotSupported => Err(SourceError::fatal(advice)),
            _ => Err(SourceError::retriable(advice)),
        }
    }

    /// Whether the stream is past the window: the answering node had come that far before the last question was asked, and its
    /// answer was that there is nothing. Where a token shows its time, that must agree.
    pub(super) fn window_is_passed(&self, reached: Timestamp, token: Option<&RawDocument>) -> bool {
        let Some(high) = self.window.as_ref().and_then(Window::high) else {
            return false;
        };
        reached >= high && token.and_then(time_of).is_none_or(|at| at >= high)
    }

    /// Sends what is left of the chunk, and reads again what its events did not tell in full.
    pub(super) async fn finish_window(&mut self) -> Result<(), SourceError> {
        let Some(window) = self.window.take() else {
            return Ok(());
        };
        self.flush_written().await?;
        let Finished {
            request,
            documents,
            again,
            read_at,
            mut outcome,
        } = window.finish();
        let namespace = format!("{}.{}", request.database, request.collection);
        let Some(progress) = self.parts.snapshots.get(&namespace).cloned() else {
            return Ok(());
        };
        outcome.documents += documents.len() as u64;
        for document in &documents {
            let Some(position) = &mut self.parts.position else {
                break;
            };
            let read = SnapshotDocument {
                snapshot: &progress.snapshot,
                database: &request.database,
                collection: &request.collection,
                chunk: progress.chunk,
                read_at,
                document,
            };
            self.parts.writer.snapshot_document(&read, position);
            if self.parts.writer.outgoing.is_full() {
                self.flush().await?;
            }
        }
        if again.is_empty() {
            let entry = self.parts.snapshots.advance(
                &namespace,
                outcome.last.as_ref(),
                outcome.documents,
                outcome.end,
            );
            self.store(entry);
            if outcome.end {
                tracing::info!(source = %self.parts.cx.source.name, %namespace, "the snapshot is complete");
            }
        } else {
            let request = ChunkRequest {
                after: None,
                ids: again,
                ..request
            };
            self.read(Window::new(request, outcome));
        }
        self.flush_written().await?;
        self.start_chunk();
        Ok(())
    }

    async fn flush_written(&mut self) -> Result<(), SourceError> {
        match self.parts.writer.outgoing.is_empty() {
            true => Ok(()),
            false => self.flush().await,
        }
    }

    /// What an event means for snapshots.
    pub(super) async fn take_note(&mut self, change: &Change<'_>) -> Result<(), SourceError> {
        let database = change.database;
        if let (Some(window), Some(collection)) = (&mut self.window, change.collection)
            && window.is_on(database, collection)
        {
            window.note(change);
        }
        match (change.operation, change.collection) {
            ("drop", Some(collection)) => self.gone(&format!("{database}.{collection}")),
            ("dropDatabase", _) => {
                let prefix = format!("{database}.");
                let gone: Vec<_> = self
                    .parts
                    .snapshots
                    .all()
                    .keys()
                    .filter(|ns| ns.starts_with(&prefix))
                    .cloned()
                    .collect();
                for namespace in gone {
                    self.gone(&namespace);
                }
            }
            ("rename", Some(collection)) => self.renamed(database, collection, change.to),
            ("insert", Some(collection)) => {
                let warning = format!("absent/{database}.{collection}");
                if change.collection.is_some() && !self.parts.cx.status.warnings().is_empty() {
                    self.parts.cx.status.clear(&warning);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// A collection is no more: nothing of it is left to read, and what was read is stale.
    fn gone(&mut self, namespace: &str) {
        if let Some((database, collection)) = namespace.split_once('.')
            && self
                .window
                .as_ref()
                .is_some_and(|window| window.is_on(database, collection))
        {
            self.window = None;
            self.chunk = None;
        }
        let entry = self.parts.snapshots.end(namespace);
        self.store(entry);
    }

    /// A collection has another name. If consumers did not know all of it under the old one, it is read under the new one.
    fn renamed(&mut self, database: &str, collection: &str, to: Option<(&str, &str)>) {
        let from = format!("{database}.{collection}");
        let unfinished = self
            .parts
            .snapshots
            .get(&from)
            .filter(|progress| !progress.done)
            .cloned();
        self.gone(&from);
        let Some((to_database, to_collection)) = to else {
            return;
        };
        let scope = &self.parts.config.scope;
        if !scope.covers(to_database, to_collection) {
            return;
        }
        let was_watched = scope.covers(database, collection);
        let to = format!("{to_database}.{to_collection}");
        self.gone(&to);
        let initial = self.parts.config.snapshot.mode == SnapshotMode::Initial;
        if unfinished.is_some() || (initial && !was_watched) {
            let filter = unfinished.and_then(|progress| progress.filter);
            let entry = self.parts.snapshots.plan(&to, Snapshots::name(), filter);
            self.store(Some(entry));
        }
    }
}

/// The time that a token of a current server shows: `82`, seconds, counter, as hex. Only a hint that the stream has not come far
/// enough; where to resume never depends on it.
fn time_of(token: &RawDocument) -> Option<Timestamp> {
    /// No server with such tokens is older than this.
    const PLAUSIBLE: u32 = 1_400_000_000;
    let Ok(Some(RawBsonRef::String(data))) = token.get("_data") else {
        return None;
    };
    let rest = data.strip_prefix("82")?;
    let time = u32::from_str_radix(rest.get(..8)?, 16).ok()?;
    let increment = u32::from_str_radix(rest.get(8..16)?, 16).ok()?;
    (time > PLAUSIBLE).then_some(Timestamp { time, increment })
}

#[cfg(test)]
mod tests {
    use mongodb::bson::rawdoc;

    use super::*;

    #[test]
    fn only_key_strings_show_their_time() {
        let token = rawdoc! { "_data": "826580A1F0000000032B022C0100296E5A1004" };
        assert_eq!(
            time_of(&token),
            Some(Timestamp {
                time: 0x6580_a1f0,
                increment: 3
            })
        );
        for data in [
            "8200000010730010",
            "2e000000107300010000",
            "82",
            "zz",
            "82é000000000000000",
        ] {
            assert_eq!(time_of(&rawdoc! { "_data": data }), None, "{data}");
        }
    }
}
