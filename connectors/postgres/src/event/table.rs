//! A table, prepared for writing its rows.

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
};

use headgate_sdk::{Str, envelope::legal_string};

use super::outbox::OutboxColumns;
use crate::{
    pgoutput::{ColumnValue, Identity, Relation, Tuple},
    types::{Kind, Rendering, builtin, write, write_json_string},
};

/// What the catalogue knows and a Relation message does not say.
#[derive(Debug, Clone, Default)]
pub(crate) struct Facts {
    /// The primary key's columns in key order; empty without one.
    pub(crate) primary_key: Vec<String>,
    /// The columns of the replica identity's index in key order.
    pub(crate) identity_key: Vec<String>,
    /// Types that are not built in.
    pub(crate) kinds: HashMap<u32, Kind>,
}

/// One version of a table.
#[derive(Debug)]
pub(crate) struct Table {
    /// Counts descriptions in the order in which they came, so that the newest is known.
    pub(crate) generation: u64,
    pub(crate) relation: Relation,
    /// `schema.table`.
    pub(crate) subject: Str,
    pub(crate) columns: Vec<Prepared>,
    /// Indexes of the key's columns in key order; empty for a table without a key.
    pub(crate) key: Vec<usize>,
    /// Whether its changes become events.
    pub(crate) captured: bool,
    pub(crate) outbox: Option<OutboxColumns>,
    /// The URI of its version, once that is known.
    pub(super) dataschema: OnceLock<Str>,
    /// `"schema":…,"table":…,`
    pub(super) source_part: Vec<u8>,
}

/// A column, prepared for writing its values.
#[derive(Debug)]
pub(crate) struct Prepared {
    /// `"name":`
    pub(super) label: Vec<u8>,
    pub(crate) kind: Kind,
    /// Whether the replica identity has it.
    pub(super) identity: bool,
}

impl Table {
    pub(crate) fn new(
        generation: u64,
        relation: Relation,
        facts: &Facts,
        captured: bool,
        outbox: Option<&crate::config::Outbox>,
    ) -> Result<Self, String> {
        let columns: Vec<Prepared> = relation
            .columns
            .iter()
            .map(|column| {
                let mut label = Vec::new();
                write_json_string(&column.name, &mut label);
                label.push(b':');
                Prepared {
                    label,
                    kind: builtin(column.type_oid)
                        .or_else(|| facts.kinds.get(&column.type_oid).cloned())
                        .unwrap_or(Kind::Text),
                    identity: column.key,
                }
            })
            .collect();
        let subject: Str = format!("{}.{}", relation.schema, relation.name).into();
        let mut source_part = b"\"schema\":".to_vec();
        write_json_string(&relation.schema, &mut source_part);
        source_part.extend_from_slice(b",\"table\":");
        write_json_string(&relation.name, &mut source_part);
        source_part.push(b',');
        let outbox = outbox
            .filter(|outbox| outbox.table == subject.as_str())
            .map(|outbox| OutboxColumns::new(outbox, &relation))
            .transpose()?;
        Ok(Self {
            generation,
            key: key(&relation, facts),
            subject,
            columns,
            captured,
            outbox,
            dataschema: OnceLock::new(),
            source_part,
            relation,
        })
    }

    /// Its version is `version`; `urn` is that of the source.
    pub(crate) fn set_version(&self, urn: &str, version: u32) {
        let mut uri = format!("{urn}:");
        for byte in self.subject.bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'_' | b'-' => {
                    uri.push(char::from(byte));
                }
                other => uri.push_str(&format!("%{other:02X}")),
            }
        }
        uri.push_str(&format!(":v{version}"));
        // A description has one version; it is set again when it is learned again.
        let _set_already = self.dataschema.set(uri.into());
    }

    /// The key of a row as Kafka's key: a single column's text, several as a JSON array in key order. Columns that did not come
    /// are looked up in `fallback`. `None` for tables without a key.
    pub(super) fn key_text(
        &self,
        row: Tuple<'_>,
        fallback: Option<Tuple<'_>>,
        rendering: Rendering,
    ) -> Option<Str> {
        if let [single] = self.key[..] {
            return match column(row, fallback, single) {
                Some(ColumnValue::Text(text)) => std::str::from_utf8(text)
                    .ok()
                    .map(|text| Str::new(legal_string(text))),
                _ => None,
            };
        }
        if self.key.is_empty() {
            return None;
        }
        let mut out = vec![b'['];
        for (i, &at) in self.key.iter().enumerate() {
            if i > 0 {
                out.push(b',');
            }
            match column(row, fallback, at) {
                Some(ColumnValue::Text(text)) => write(
                    &self.columns[at].kind,
                    std::str::from_utf8(text).ok()?,
                    rendering,
                    &mut out,
                ),
                _ => out.extend_from_slice(b"null"),
            }
        }
        out.push(b']');
        String::from_utf8(out)
            .ok()
            .map(|text| Str::new(legal_string(&text)))
    }

    /// The texts of a row's key columns in key order; `None` where one did not come.
    pub(crate) fn key_values(
        &self,
        row: Tuple<'_>,
        fallback: Option<Tuple<'_>>,
    ) -> Option<Vec<String>> {
        self.key
            .iter()
            .map(|&at| match column(row, fallback, at) {
                Some(ColumnValue::Text(text)) => String::from_utf8(text.to_vec()).ok(),
                _ => None,
            })
            .collect()
    }
}

/// Column `at` of `row`, or of `fallback` where it is TOASTed and unchanged.
#[inline]
fn column<'a>(row: Tuple<'a>, fallback: Option<Tuple<'a>>, at: usize) -> Option<ColumnValue<'a>> {
    match row.columns().nth(at) {
        Some(ColumnValue::Unchanged) => fallback?.columns().nth(at),
        found => found,
    }
}

/// The columns that identify a row the same way in every kind of change: those of the replica identity, for FULL the primary
/// key.
fn key(relation: &Relation, facts: &Facts) -> Vec<usize> {
    let find = |names: &[String]| -> Option<Vec<usize>> {
        (!names.is_empty())
            .then(|| {
                names
                    .iter()
                    .map(|name| relation.columns.iter().position(|c| c.name == *name))
                    .collect()
            })
            .flatten()
    };
    let flagged = || -> Vec<usize> {
        (0..relation.columns.len())
            .filter(|&i| relation.columns[i].key)
            .collect()
    };
    match relation.identity {
        Identity::Full | Identity::Nothing => find(&facts.primary_key).unwrap_or_default(),
        Identity::Default | Identity::Index => {
            let flagged = flagged();
            // The catalogue may be ahead of the stream: it gives the order only if it names the same columns.
            find(&facts.identity_key)
                .filter(|ordered| {
                    let mut sorted = ordered.clone();
                    sorted.sort_unstable();
                    sorted == flagged
                })
                .unwrap_or(flagged)
        }
    }
}

/// Tables by their relation id, with a short cut for runs of changes of one table.
#[derive(Debug, Default)]
pub(super) struct Tables {
    all: HashMap<u32, Arc<Table>>,
    last: Option<Arc<Table>>,
}

impl Tables {
    #[inline]
    pub(super) fn get(&mut self, id: u32) -> Option<Arc<Table>> {
        match &self.last {
            Some(table) if table.relation.id == id => Some(Arc::clone(table)),
            _ => {
                let table = self.all.get(&id)?;
                self.last = Some(Arc::clone(table));
                Some(Arc::clone(table))
            }
        }
    }

    pub(super) fn insert(&mut self, table: Arc<Table>) {
        self.last = None;
        self.all.insert(table.relation.id, table);
    }
}
