//! Versions of tables' shapes.
//!
//! The version that belongs to a position is stored with it, so that a restart compares with what was last published.

use std::collections::HashMap;

use headgate_sdk::{Entry, Lane, LaneError};
use serde::{Deserialize, Serialize};

use crate::{
    control::{Client, SqlError},
    event::Table,
    sql::literal,
};

/// Where versions lie among the lane's entries.
const PREFIX: &str = "schema/";

/// A table's shape.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Version {
    pub(crate) version: u32,
    pub(crate) table: String,
    pub(crate) columns: Vec<Shape>,
}

/// A column's shape.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Shape {
    pub(crate) name: String,
    pub(crate) r#type: String,
    pub(crate) identity: bool,
}

/// The version of every table that was described, by the stream or by a reader.
#[derive(Debug, Default)]
pub(crate) struct Versions {
    known: HashMap<u32, Version>,
}

impl Versions {
    /// Reads what is stored.
    pub(crate) async fn load(lane: &Lane) -> Result<Self, LaneError> {
        let mut known = HashMap::new();
        let mut after: Option<String> = None;
        loop {
            let page = lane.entries(PREFIX, after.as_deref(), 500).await?;
            let Some((last, _)) = page.last() else {
                return Ok(Self { known });
            };
            after = Some(last.to_string());
            for (key, value) in &page {
                if let (Ok(oid), Ok(version)) =
                    (key[PREFIX.len()..].parse(), serde_json::from_slice(value))
                {
                    known.insert(oid, version);
                }
            }
        }
    }

    /// The version of a table, if it has one.
    pub(crate) fn version(&self, oid: u32) -> Option<u32> {
        self.known.get(&oid).map(|known| known.version)
    }

    /// Compares a description with the last version, and makes a new one if it differs and `may_change`.
    pub(crate) async fn compare(
        &mut self,
        client: &mut Client,
        table: &Table,
        may_change: bool,
    ) -> Result<Compared, SqlError> {
        let columns = shapes(client, table).await?;
        let oid = table.relation.id;
        let before = self.known.get(&oid);
        if before.is_some_and(|v| v.columns == columns && v.table == table.subject.as_str()) {
            return Ok(Compared::Same);
        }
        if before.is_some() && !may_change {
            return Ok(Compared::Other);
        }
        let after = Version {
            version: before.map_or(1, |v| v.version + 1),
            table: table.subject.to_string(),
            columns,
        };
        let event = before.map(|before| {
            serde_json::to_vec(&serde_json::json!({
                "schema": table.relation.schema, "table": table.relation.name, "relation": oid,
                "version": after.version, "before": before, "after": after,
            }))
            .unwrap_or_default()
        });
        let entry = Entry::put(
            format!("{PREFIX}{oid}"),
            serde_json::to_vec(&after).unwrap_or_default(),
        );
        self.known.insert(oid, after);
        Ok(Compared::New { entry, event })
    }
}

/// What a description is to the last version of its table.
pub(crate) enum Compared {
    /// It has that version.
    Same,
    /// It is of another, nobody knows which.
    Other,
    /// It is the next one, or the first.
    New {
        /// To be stored.
        entry: Entry,
        /// The data of an event, if there was a version before.
        event: Option<Vec<u8>>,
    },
}

async fn shapes(client: &mut Client, table: &Table) -> Result<Vec<Shape>, SqlError> {
    let relation = &table.relation;
    if relation.columns.is_empty() {
        return Ok(Vec::new());
    }
    let values: Vec<String> = relation
        .columns
        .iter()
        .enumerate()
        .map(|(i, c)| {
            format!(
                "({i}, {}, {})",
                literal(&c.type_oid.to_string()),
                c.type_modifier
            )
        })
        .collect();
    let rows = client
        .rows(&format!(
            "SELECT format_type(v.t::oid, v.m) FROM (VALUES {}) AS v(i, t, m) ORDER BY v.i",
            values.join(", ")
        ))
        .await?;
    Ok(relation
        .columns
        .iter()
        .zip(&rows)
        .map(|(column, row)| Shape {
            name: column.name.clone(),
            r#type: row.text(0).to_owned(),
            identity: column.key,
        })
        .collect())
}
