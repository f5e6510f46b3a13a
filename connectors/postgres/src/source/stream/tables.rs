//! What tables look like now.

use std::sync::Arc;

use headgate_sdk::{SourceError, Timestamp};

use super::{
    super::{End, schema::Compared},
    session::Stream,
};
use crate::{
    config::SnapshotMode,
    control::{Published, describe, kinds_of},
    event::{Facts, Table},
    pgoutput::{Identity, Relation},
    snapshot::{Progress, forgotten_entry, known_entry},
    sql::qualified,
};

impl Stream {
    /// Prepares a table's description with what the catalogue knows.
    pub(super) async fn describe(&mut self, relation: Relation) -> Result<Arc<Table>, End> {
        let Self {
            link,
            catalog,
            kinds,
            ..
        } = self;
        let info = link
            .ask(async {
                let oids = relation.columns.iter().map(|column| column.type_oid);
                kinds_of(catalog, oids, kinds).await?;
                describe(catalog, relation.id).await
            })
            .await?;
        let facts = info.map_or_else(
            || Facts {
                kinds: self.kinds.clone(),
                ..Facts::default()
            },
            |info| info.facts(self.kinds.clone()),
        );
        self.generation += 1;
        let subject = format!("{}.{}", relation.schema, relation.name);
        let captured = self.checked.captures(&subject);
        let outbox = self.checked.config.outbox.as_ref();
        Table::new(self.generation, relation, &facts, captured, outbox)
            .map(Arc::new)
            .map_err(|message| End::Source(SourceError::fatal(message)))
    }

    /// From here on the table is read by this description; a change of its shape is an event.
    pub(super) async fn learn(&mut self, table: Arc<Table>) -> Result<(), End> {
        self.publisher.learn(Arc::clone(&table));
        if !table.captured {
            return Ok(());
        }
        self.warn_of_identity(&table);
        if self.publisher.is_skipping() {
            if let Some(version) = self.versions.version(table.relation.id) {
                self.publisher.set_version(&table, version);
            }
            return Ok(());
        }
        self.set_version(&table, true).await
    }

    /// Updates and deletes of a published table that has no replica identity are refused where they are made.
    fn warn_of_identity(&self, table: &Table) {
        let relation = &table.relation;
        let topic = format!("identity/{}", table.subject);
        let identified = match relation.identity {
            Identity::Full => true,
            Identity::Nothing => false,
            Identity::Default | Identity::Index => relation.columns.iter().any(|column| column.key),
        };
        if identified {
            self.status.clear(&topic);
            return;
        }
        let quoted = qualified(&relation.schema, &relation.name);
        self.status.warn(
            topic,
            format!(
                "table {} has no replica identity: the server refuses its updates and deletes; run ALTER TABLE {quoted} REPLICA IDENTITY \
                 FULL; or give it a primary key",
                table.subject
            ),
        );
    }

    /// Finds out which version of its table a description is, which may be the next one.
    pub(super) async fn set_version(&mut self, table: &Table, may_change: bool) -> Result<(), End> {
        let Self {
            link,
            versions,
            catalog,
            ..
        } = self;
        let compared = versions.compare(catalog, table, may_change);
        match link.ask(compared).await? {
            Compared::Same => {}
            Compared::Other => return Ok(()),
            Compared::New { entry, event } => {
                if let Some(data) = event {
                    self.publisher.schema_event(table, &data);
                }
                self.publisher.outgoing.entries.push(entry);
            }
        }
        if let Some(version) = self.versions.version(table.relation.id) {
            self.publisher.set_version(table, version);
        }
        Ok(())
    }

    /// Compares the publication with what is known; tables that are new are read. One that is gone from it is new when it comes
    /// back: what was changed meanwhile is not in the stream.
    pub(super) async fn discovered(&mut self, tables: Vec<Published>) -> Result<(), End> {
        let gone: Vec<String> = self
            .known
            .keys()
            .filter(|known| !tables.iter().any(|table| table.subject == **known))
            .cloned()
            .collect();
        for table in gone {
            tracing::warn!(
                table,
                publication = self.checked.publication,
                "the table is not published any more: its changes do not come"
            );
            self.publisher
                .outgoing
                .entries
                .push(forgotten_entry(&table));
            self.known.remove(&table);
        }
        let stamp = Timestamp::now().as_second();
        for table in tables {
            let is_reading = self.reading.values().any(|p| p.table == table.subject);
            if is_reading
                || self.known.contains_key(&table.subject)
                || !self.checked.captures(&table.subject)
            {
                continue;
            }
            if self.checked.config.snapshot.mode == SnapshotMode::Initial {
                let name = format!("added-{stamp}");
                let progress = Progress::new(name, &table.subject, table.oid, None);
                self.publisher.outgoing.entries.push(progress.entry());
                self.read_table(progress);
            } else {
                let entry = known_entry(&table.subject);
                self.publisher.outgoing.entries.push(entry);
                self.known.insert(table.subject, ());
            }
        }
        Ok(())
    }
}
