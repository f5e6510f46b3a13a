//! Tables without a key: one exported snapshot, sent at its place in the stream.

use std::{collections::HashMap, sync::Arc};

use super::{
    Progress,
    query::{column_names, source},
    rows::Rows,
};
use crate::{
    config::Checked,
    control::{Client, SqlError, column_list, describe, kinds_of, published},
    event::Table,
    lsn::Lsn,
    replication::{Connection, ReplicationError},
    sql::{identifier, literal},
};

/// Rows fetched at once.
const FETCH: u32 = 1_000;

/// An exported snapshot and the tables to read under it.
///
/// The snapshot lives as long as the connection that made it.
pub(crate) struct Export {
    _keeper: Connection,
    /// Transactions that commit from here on are not in the snapshot.
    pub(crate) at: Lsn,
    snapshot: String,
    pub(crate) tables: Vec<Progress>,
    reader: Client,
}

impl Export {
    /// Makes a snapshot through a temporary slot. Waits until transactions that run now have ended.
    pub(crate) async fn begin(
        checked: &Checked,
        name: &str,
        tables: Vec<Progress>,
        raw: bool,
    ) -> Result<Self, ReplicationError> {
        let mut keeper = Connection::open(&checked.server, raw).await?;
        let slot = keeper.create_slot(name, true, true, false).await?;
        Ok(Self {
            _keeper: keeper,
            at: slot.consistent_point,
            snapshot: slot.snapshot.unwrap_or_default(),
            tables,
            reader: Client::reading(checked.server.clone(), raw),
        })
    }

    /// Opens a transaction under the snapshot and a cursor over `table`. `None` if it is not published any more.
    pub(crate) async fn open(
        &mut self,
        checked: &Checked,
        version: u32,
        table: &Progress,
    ) -> Result<Option<Arc<Table>>, SqlError> {
        self.reader
            .run(&format!(
                "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET TRANSACTION SNAPSHOT {}",
                literal(&self.snapshot)
            ))
            .await?;
        let Some(info) = describe(&mut self.reader, table.oid).await? else {
            return Ok(None);
        };
        let tables = published(&mut self.reader, &checked.publication, version).await?;
        let Some(publication) = tables
            .unwrap_or_default()
            .into_iter()
            .find(|published| published.oid == table.oid)
        else {
            return Ok(None);
        };
        let names = column_names(&info, &publication);
        let (from, conditions) = source(&info, &publication, table.filter.as_deref());
        let condition = if conditions.is_empty() {
            String::new()
        } else {
            format!(" WHERE {}", conditions.join(" AND "))
        };
        self.reader
            .run(&format!(
                "DECLARE {} NO SCROLL CURSOR FOR SELECT {} FROM {from}{condition}",
                identifier("headgate_export"),
                column_list(&names)
            ))
            .await?;
        let mut relation = info.relation(&names);
        relation
            .columns
            .sort_by_key(|column| names.iter().position(|name| *name == column.name));
        let mut kinds = HashMap::new();
        let oids = relation.columns.iter().map(|column| column.type_oid);
        kinds_of(&mut self.reader, oids, &mut kinds).await?;
        let outbox = checked.config.outbox.as_ref();
        Table::new(0, relation, &info.facts(kinds), true, outbox)
            .map(|table| Some(Arc::new(table)))
            .map_err(SqlError::own)
    }

    /// The next rows; none at the end, which also ends the transaction.
    pub(crate) async fn fetch(&mut self, table: &Table) -> Result<Rows, SqlError> {
        use tokio_postgres::SimpleQueryMessage::Row;
        let columns = table.columns.len();
        let mut rows = Rows::new(u16::try_from(columns).unwrap_or(u16::MAX));
        let fetched = self
            .reader
            .session()
            .await?
            .simple_query(&format!(
                "FETCH FORWARD {FETCH} FROM {}",
                identifier("headgate_export")
            ))
            .await?;
        for message in &fetched {
            if let Row(row) = message {
                rows.push(row, columns);
            }
        }
        if rows.len() == 0 {
            self.reader.run("COMMIT").await?;
        }
        Ok(rows)
    }
}
