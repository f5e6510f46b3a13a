//! What a chunk is read with.

use super::Progress;
use crate::{
    control::{Published, TableInfo, column_list},
    sql::literal,
};

/// The published columns, in the table's order.
pub(super) fn column_names(info: &TableInfo, publication: &Published) -> Vec<String> {
    info.columns
        .iter()
        .filter(|column| {
            if publication.columns.is_empty() {
                !column.generated
            } else {
                publication.columns.contains(&column.name)
            }
        })
        .map(|column| column.name.clone())
        .collect()
}

/// `FROM … WHERE …` of what is published of a table.
pub(super) fn source(
    info: &TableInfo,
    publication: &Published,
    filter: Option<&str>,
) -> (String, Vec<String>) {
    let only = if info.kind == b'p' { "" } else { "ONLY " };
    let conditions = [publication.filter.as_deref(), filter]
        .into_iter()
        .flatten()
        .map(|condition| format!("({condition})"))
        .collect();
    (format!("{only}{}", info.quoted()), conditions)
}

pub(super) fn select(
    info: &TableInfo,
    publication: &Published,
    names: &[String],
    job: &Progress,
    limit: u32,
) -> String {
    let (from, mut conditions) = source(info, publication, job.filter.as_deref());
    let key = column_list(info.key());
    let values = |values: &Vec<String>| {
        let typed: Vec<String> = info
            .key()
            .iter()
            .zip(values)
            .map(|(name, value)| {
                let type_name = info
                    .columns
                    .iter()
                    .find(|column| column.name == *name)
                    .map_or("text", |column| column.type_name.as_str());
                format!("{}::{type_name}", literal(value))
            })
            .collect();
        format!("({})", typed.join(", "))
    };
    if job.again.is_empty() {
        if let Some(after) = &job.after {
            conditions.push(format!("({key}) > {}", values(after)));
        }
        if let Some(until) = &job.until {
            conditions.push(format!("({key}) <= {}", values(until)));
        }
    } else {
        let keys: Vec<String> = job.again.iter().map(values).collect();
        conditions.push(format!("({key}) IN ({})", keys.join(", ")));
    }
    let condition = if conditions.is_empty() {
        String::new()
    } else {
        format!(" WHERE {}", conditions.join(" AND "))
    };
    let limit = if job.again.is_empty() {
        format!(" LIMIT {limit}")
    } else {
        String::new()
    };
    format!(
        "SELECT {} FROM {from}{condition} ORDER BY {key}{limit}",
        column_list(names)
    )
}
