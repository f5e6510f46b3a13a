//! What an operator asks of a running source.

use headgate_sdk::control::{Control, ControlError};
use serde::Deserialize;
use serde_json::{Value, json};

use super::engine::Engine;
use crate::{
    deployment::{self, CollectionInfo},
    failure,
    snapshot::{Snapshots, read_filter},
};

/// Arguments of `snapshot`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SnapshotArguments {
    table: Option<String>,
    collection: Option<String>,
    r#where: Option<String>,
}

impl Engine {
    /// Carries out a command. Sends nothing itself: entries ride on the next batch.
    pub(super) async fn control(&mut self, control: Control) {
        let answer = match control.action.as_str() {
            "snapshot" => self.snapshot(control.arguments.clone()).await,
            "status" => Ok(self.status()),
            _ => return control.unknown(),
        };
        control.reply(answer);
    }

    async fn snapshot(&mut self, arguments: Value) -> Result<Value, ControlError> {
        let arguments: SnapshotArguments = serde_json::from_value(arguments)
            .map_err(|error| ControlError::Invalid(error.to_string()))?;
        if arguments.table.is_some() {
            return Err(ControlError::Invalid(
                "this source has collections: write `--collection`".into(),
            ));
        }
        if let Some(filter) = &arguments.r#where {
            read_filter(filter).map_err(ControlError::Invalid)?;
        }
        if self.parts.position.is_none() {
            return Err(ControlError::Failed(
                "the stream is not open yet: try again in a moment".into(),
            ));
        }
        let scope = &self.parts.config.scope;
        let existing = deployment::collections(&self.parts.client, scope)
            .await
            .map_err(|error| ControlError::Failed(failure::advice(&error, &scope.text())))?;
        let mut namespaces: Vec<_> = existing.iter().map(CollectionInfo::namespace).collect();
        if let Some(collection) = &arguments.collection {
            // As it was written, or within the database that the source is about.
            let within = format!("{}.{collection}", scope.database());
            namespaces.retain(|namespace| namespace == collection || *namespace == within);
        }
        if namespaces.is_empty() {
            return Err(ControlError::Invalid(format!(
                "this source watches no such collection; it watches {}, as far as it exists",
                scope.text()
            )));
        }
        let busy = namespaces
            .iter()
            .find(|ns| self.parts.snapshots.get(ns).is_some_and(|p| !p.done));
        if let Some(busy) = busy {
            return Err(ControlError::Failed(format!(
                "{busy} is being read already; `headgate sources list` says when it is done"
            )));
        }
        let name = Snapshots::name();
        for namespace in &namespaces {
            let entry =
                self.parts
                    .snapshots
                    .plan(namespace, name.clone(), arguments.r#where.clone());
            self.store(Some(entry));
        }
        // Chunks follow once a batch with the plan is durable: the next one that is sent.
        self.plan = Some(self.last_delivery() + 1);
        Ok(json!({ "snapshot": name, "collections": namespaces }))
    }

    fn status(&self) -> Value {
        let snapshots: Vec<_> = self
            .parts
            .snapshots
            .all()
            .iter()
            .map(|(namespace, progress)| {
                json!({ "collection": namespace, "snapshot": progress.snapshot, "documents": progress.documents, "done": progress.done })
            })
            .collect();
        let position = self.parts.position.as_ref();
        json!({
            "watches": self.parts.config.scope.text(),
            "cluster_time": position.map(|p| json!({ "t": p.time.0, "i": p.time.1 })),
            "snapshots": snapshots,
        })
    }
}
