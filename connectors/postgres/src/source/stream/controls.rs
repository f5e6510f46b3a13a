//! What an operator may ask of a running source.

use std::sync::atomic::{AtomicU64, Ordering};

use headgate_sdk::{
    Timestamp,
    control::{Control, ControlError},
};
use serde_json::{Value, json};

use super::{super::End, session::Stream};
use crate::{
    control::{Published, published},
    snapshot::Progress,
    sql::{identifier, qualified},
};

impl Stream {
    pub(super) async fn control(&mut self, control: Control) -> Result<(), End> {
        let answer = match control.action.as_str() {
            "snapshot" => self.snapshot_on_demand(&control.arguments).await,
            "status" => Ok(self.report()),
            _ => {
                control.unknown();
                return Ok(());
            }
        };
        control.reply(answer);
        self.flush().await
    }

    pub(super) async fn snapshot_on_demand(
        &mut self,
        arguments: &Value,
    ) -> Result<Value, ControlError> {
        let wanted = arguments.get("table").and_then(Value::as_str);
        let filter = arguments
            .get("where")
            .and_then(Value::as_str)
            .map(str::to_owned);
        if filter.is_some() && wanted.is_none() {
            return Err(ControlError::Invalid(
                "`where` needs a `table` that it belongs to".into(),
            ));
        }
        if !self.readers.can_read() {
            return Err(ControlError::Failed(
                "a standby cannot write watermarks: set `primary_url`".into(),
            ));
        }
        let tables = published(&mut self.catalog, &self.checked.publication, self.version)
            .await
            .map_err(|error| ControlError::Failed(error.to_string()))?
            .unwrap_or_default();
        let chosen: Vec<Published> = tables
            .into_iter()
            .filter(|table| wanted.is_none_or(|wanted| table.subject == wanted))
            .collect();
        if chosen.is_empty() {
            return Err(ControlError::Invalid(match wanted {
                Some(table) => format!(
                    "`{table}` is not in publication {}: write `schema.table` of one that is",
                    self.checked.publication
                ),
                None => format!("publication {} has no tables", self.checked.publication),
            }));
        }
        if let Some(filter) = &filter
            && let Some(table) = chosen.first()
        {
            let sql = format!(
                "EXPLAIN SELECT FROM {} WHERE ({filter})",
                quoted_subject(&table.subject)
            );
            self.catalog
                .rows(&sql)
                .await
                .map_err(|error| ControlError::Invalid(format!("`where`: {error}")))?;
        }
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let name = format!(
            "asked-{}-{}",
            Timestamp::now().as_millisecond(),
            NUMBER.fetch_add(1, Ordering::Relaxed)
        );
        let mut names = Vec::new();
        for table in chosen {
            let progress = Progress::new(&name, &table.subject, table.oid, filter.clone());
            self.publisher.outgoing.entries.push(progress.entry());
            self.read_table(progress);
            names.push(table.subject);
        }
        Ok(json!({ "snapshot": name, "tables": names }))
    }

    pub(super) fn report(&self) -> Value {
        let position = self.publisher.position();
        let reading: Vec<Value> = self
            .reading
            .values()
            .map(|p| json!({ "snapshot": p.snapshot, "table": p.table, "rows": p.rows }))
            .collect();
        json!({
            "position": position,
            "confirmed": self.link.feedback.durable(),
            "snapshots": reading,
            "spool": { "transactions": self.spool.len(), "bytes": self.spool.bytes() },
        })
    }
}

fn quoted_subject(subject: &str) -> String {
    match subject.split_once('.') {
        Some((schema, name)) => qualified(schema, name),
        None => identifier(subject),
    }
}
