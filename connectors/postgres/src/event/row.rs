//! Rows as JSON.

use super::table::Table;
use crate::{
    pgoutput::{ColumnValue, OldKind, Tuple},
    types::{Rendering, write},
};

/// A value that is not text in UTF-8, by the index of its column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NotText(pub(super) usize);

/// Which columns are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    All,
    /// Those of the replica identity.
    Identity,
    /// Those of the key.
    Key,
}

impl From<OldKind> for Extent {
    fn from(kind: OldKind) -> Self {
        match kind {
            OldKind::Key => Self::Identity,
            OldKind::Full => Self::All,
        }
    }
}

/// Appends `row` as a JSON object. TOASTed columns that did not come are taken from `fallback`, else left out and their
/// indexes added to `unchanged`.
#[inline]
pub(super) fn object(
    table: &Table,
    row: Tuple<'_>,
    fallback: Option<Tuple<'_>>,
    extent: Extent,
    rendering: Rendering,
    unchanged: &mut Vec<usize>,
    out: &mut Vec<u8>,
) -> Result<(), NotText> {
    let mut separator = b'{';
    for (i, (column, value)) in table.columns.iter().zip(row.columns()).enumerate() {
        match extent {
            Extent::All => {}
            Extent::Identity if column.identity => {}
            Extent::Key if table.key.contains(&i) => {}
            Extent::Identity | Extent::Key => continue,
        }
        let value = match value {
            ColumnValue::Unchanged => match fallback.and_then(|old| old.columns().nth(i)) {
                Some(value @ (ColumnValue::Text(_) | ColumnValue::Null)) => value,
                _ => {
                    unchanged.push(i);
                    continue;
                }
            },
            value => value,
        };
        out.push(separator);
        separator = b',';
        out.extend_from_slice(&column.label);
        match value {
            ColumnValue::Text(text) => {
                let text = std::str::from_utf8(text).map_err(|_| NotText(i))?;
                write(&column.kind, text, rendering, out);
            }
            _ => out.extend_from_slice(b"null"),
        }
    }
    if separator == b'{' {
        out.push(b'{');
    }
    out.push(b'}');
    Ok(())
}

/// Appends `,"unchanged":[…]` if there is something to name.
pub(super) fn unchanged_part(table: &Table, unchanged: &[usize], out: &mut Vec<u8>) {
    if unchanged.is_empty() {
        return;
    }
    let mut separator: &[u8] = b",\"unchanged\":[";
    for &i in unchanged {
        out.extend_from_slice(separator);
        separator = b",";
        let label = &table.columns[i].label;
        out.extend_from_slice(&label[..label.len() - 1]);
    }
    out.push(b']');
}
