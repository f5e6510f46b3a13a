//! What the catalogue knows about tables and types.

use std::collections::HashMap;

use super::{Client, SqlError};
use crate::{
    event::Facts,
    pgoutput::{Column, Identity, Relation},
    sql::{identifier, literal, qualified},
    types::{Kind, builtin},
};

/// A table as the catalogue has it now.
#[derive(Debug, Clone)]
pub(crate) struct TableInfo {
    pub(crate) oid: u32,
    pub(crate) schema: String,
    pub(crate) name: String,
    /// `r` table, `p` partitioned.
    pub(crate) kind: u8,
    pub(crate) identity: Identity,
    /// The primary key in key order.
    pub(crate) primary_key: Vec<String>,
    /// The index of the replica identity in key order.
    pub(crate) identity_key: Vec<String>,
    pub(crate) columns: Vec<ColumnInfo>,
}

/// A column as the catalogue has it now.
#[derive(Debug, Clone)]
pub(crate) struct ColumnInfo {
    pub(crate) name: String,
    pub(crate) type_oid: u32,
    pub(crate) type_modifier: i32,
    /// The type as SQL writes it.
    pub(crate) type_name: String,
    pub(crate) generated: bool,
}

impl TableInfo {
    /// `schema.table`.
    pub(crate) fn subject(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }

    /// `"schema"."table"`.
    pub(crate) fn quoted(&self) -> String {
        qualified(&self.schema, &self.name)
    }

    /// The columns that order it for reading in chunks, the key of its events: those of the replica identity, for FULL and
    /// NOTHING the primary key.
    pub(crate) fn key(&self) -> &[String] {
        match self.identity {
            Identity::Full | Identity::Nothing => &self.primary_key,
            Identity::Default | Identity::Index => &self.identity_key,
        }
    }

    /// What a Relation message with these columns would say.
    pub(crate) fn relation(&self, published: &[String]) -> Relation {
        Relation {
            id: self.oid,
            schema: self.schema.clone(),
            name: self.name.clone(),
            identity: self.identity,
            columns: self
                .columns
                .iter()
                .filter(|column| published.contains(&column.name))
                .map(|column| Column {
                    key: self.identity == Identity::Full
                        || self.identity_key.contains(&column.name),
                    name: column.name.clone(),
                    type_oid: column.type_oid,
                    type_modifier: column.type_modifier,
                })
                .collect(),
        }
    }

    /// The keys, for describing a table.
    pub(crate) fn facts(&self, kinds: HashMap<u32, Kind>) -> Facts {
        Facts {
            primary_key: self.primary_key.clone(),
            identity_key: self.identity_key.clone(),
            kinds,
        }
    }
}

/// Reads a table; `None` if it does not exist (any more).
pub(crate) async fn describe(client: &mut Client, oid: u32) -> Result<Option<TableInfo>, SqlError> {
    let tables = client
        .rows(&format!(
            "SELECT n.nspname, c.relname, c.relkind, c.relreplident FROM pg_class c \
             JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = {oid}"
        ))
        .await?;
    let Some(table) = tables.first() else {
        return Ok(None);
    };
    let columns = client
        .rows(&format!(
            "SELECT attname, atttypid, atttypmod, format_type(atttypid, atttypmod), attgenerated <> '' \
             FROM pg_attribute WHERE attrelid = {oid} AND attnum > 0 AND NOT attisdropped ORDER BY attnum"
        ))
        .await?;
    let keys = client
        .rows(&format!(
            "SELECT i.indisprimary, i.indisreplident, a.attname, i.indisprimary AND i.indimmediate FROM pg_index i \
             CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS k(attnum, n) \
             JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum \
             WHERE i.indrelid = {oid} AND (i.indisprimary OR i.indisreplident) AND i.indisvalid AND k.n <= i.indnkeyatts \
             ORDER BY k.n"
        ))
        .await?;
    let first = |text: &str| text.bytes().next().unwrap_or_default();
    let identity = Identity::from_letter(first(table.text(3))).unwrap_or(Identity::Default);
    let names = |column: usize| -> Vec<String> {
        keys.iter()
            .filter(|row| row.is_true(column))
            .map(|row| row.text(2).to_owned())
            .collect()
    };
    let primary_key = names(0);
    Ok(Some(TableInfo {
        oid,
        schema: table.text(0).to_owned(),
        name: table.text(1).to_owned(),
        kind: first(table.text(2)),
        identity,
        identity_key: match identity {
            // A primary key that may be violated until the commit identifies no row.
            Identity::Default => names(3),
            Identity::Index => names(1),
            Identity::Full | Identity::Nothing => Vec::new(),
        },
        primary_key,
        columns: columns
            .iter()
            .map(|row| ColumnInfo {
                name: row.text(0).to_owned(),
                type_oid: row.number(1),
                type_modifier: row.number(2),
                type_name: row.text(3).to_owned(),
                generated: row.is_true(4),
            })
            .collect(),
    }))
}

/// Finds out the kinds of types that are not built in, their bases and elements included. Types that are gone are text.
pub(crate) async fn kinds_of(
    client: &mut Client,
    oids: impl Iterator<Item = u32>,
    known: &mut HashMap<u32, Kind>,
) -> Result<(), SqlError> {
    let mut wanted: Vec<u32> = oids
        .filter(|oid| builtin(*oid).is_none() && !known.contains_key(oid))
        .collect();
    // (oid, what it is made of)
    let mut derived: Vec<(u32, u32, Option<u8>)> = Vec::new();
    while !wanted.is_empty() {
        let list: Vec<String> = wanted.iter().map(ToString::to_string).collect();
        let rows = client
            .rows(&format!(
                "SELECT oid, typname, typtype, typbasetype, typelem, typdelim, typcategory = 'A' AND typlen = -1 AND typelem <> 0 \
                 FROM pg_type WHERE oid IN ({})",
                list.join(",")
            ))
            .await?;
        let mut next = Vec::new();
        for row in &rows {
            let oid: u32 = row.number(0);
            let part = if row.text(2) == "d" {
                Some((row.number(3), None))
            } else if row.is_true(6) {
                Some((row.number(4), row.text(5).bytes().next()))
            } else {
                None
            };
            match part {
                Some((part, delimiter)) => {
                    derived.push((oid, part, delimiter));
                    if builtin(part).is_none() && !known.contains_key(&part) {
                        next.push(part);
                    }
                }
                None => {
                    let kind = if row.text(1) == "hstore" && row.text(2) == "b" {
                        Kind::Hstore
                    } else {
                        Kind::Text
                    };
                    known.insert(oid, kind);
                }
            }
        }
        for oid in wanted {
            if !rows.iter().any(|row| row.number::<u32>(0) == oid) {
                known.insert(oid, Kind::Text);
            }
        }
        next.retain(|oid| !known.contains_key(oid));
        wanted = next;
    }
    // What they are made of was found after them.
    for (oid, part, delimiter) in derived.into_iter().rev() {
        let part = builtin(part)
            .or_else(|| known.get(&part).cloned())
            .unwrap_or(Kind::Text);
        let kind = match delimiter {
            Some(delimiter) => Kind::array(part, delimiter),
            None => part,
        };
        known.insert(oid, kind);
    }
    Ok(())
}

/// A table of a publication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Published {
    pub(crate) oid: u32,
    pub(crate) subject: String,
    /// The published columns; empty: all that are not generated.
    pub(crate) columns: Vec<String>,
    /// The row filter as SQL.
    pub(crate) filter: Option<String>,
}

/// The tables of a publication; `None` if it does not exist.
pub(crate) async fn published(
    client: &mut Client,
    publication: &str,
    version: u32,
) -> Result<Option<Vec<Published>>, SqlError> {
    let exists = client
        .rows(&format!(
            "SELECT 1 FROM pg_publication WHERE pubname = {}",
            literal(publication)
        ))
        .await?;
    if exists.is_empty() {
        return Ok(None);
    }
    // Column lists and row filters exist since 15. That says generated columns are published, which happens since 18.
    let more = if version >= 180_000 {
        "array_to_string(p.attnames, E'\\x01'), p.rowfilter"
    } else if version >= 150_000 {
        "(SELECT string_agg(a.attname, E'\\x01' ORDER BY a.attnum) FROM pg_attribute a WHERE a.attrelid = c.oid \
         AND a.attname = ANY (p.attnames) AND a.attnum > 0 AND a.attgenerated = ''), p.rowfilter"
    } else {
        "NULL, NULL"
    };
    let rows = client
        .rows(&format!(
            "SELECT c.oid, n.nspname || '.' || c.relname, {more} FROM pg_publication_tables p \
             JOIN pg_namespace n ON n.nspname = p.schemaname \
             JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = p.tablename \
             WHERE p.pubname = {} ORDER BY 2",
            literal(publication)
        ))
        .await?;
    Ok(Some(
        rows.iter()
            .map(|row| Published {
                oid: row.number(0),
                subject: row.text(1).to_owned(),
                columns: row
                    .get(2)
                    .map(|names| names.split('\u{1}').map(str::to_owned).collect())
                    .unwrap_or_default(),
                filter: row.get(3).map(str::to_owned),
            })
            .collect(),
    ))
}

/// What a publication that somebody else made leaves out, and the SQL that mends it; `None` if it leaves out nothing.
pub(crate) async fn left_out(
    client: &mut Client,
    publication: &str,
) -> Result<Option<(String, String)>, SqlError> {
    let rows = client
        .rows(&format!(
            "SELECT pubinsert, pubupdate, pubdelete, pubtruncate, pubviaroot FROM pg_publication WHERE pubname = {}",
            literal(publication)
        ))
        .await?;
    let Some(row) = rows.first() else {
        return Ok(None);
    };
    let missing: Vec<&str> = ["insert", "update", "delete", "truncate"]
        .into_iter()
        .enumerate()
        .filter(|(i, _)| !row.is_true(*i))
        .map(|(_, word)| word)
        .collect();
    let (mut says, mut options) = (Vec::new(), Vec::new());
    if !missing.is_empty() {
        says.push(format!(
            "does not publish {}: such changes never come",
            missing.join(", ")
        ));
        options.push("publish = 'insert, update, delete, truncate'");
    }
    if !row.is_true(4) {
        says.push("publishes partitions under their own names".to_owned());
        options.push("publish_via_partition_root = true");
    }
    Ok((!says.is_empty()).then(|| {
        let sql = format!(
            "ALTER PUBLICATION {} SET ({})",
            identifier(publication),
            options.join(", ")
        );
        (says.join(", and "), sql)
    }))
}

/// `"a", "b"`.
pub(crate) fn column_list<'a>(names: impl IntoIterator<Item = &'a String>) -> String {
    let quoted: Vec<String> = names.into_iter().map(|name| identifier(name)).collect();
    quoted.join(", ")
}
