//! Folds events into tables, as a consumer would.

use std::collections::BTreeMap;

use headgate_sdk::{Envelope, Op};
use serde_json::{Map, Value};

use super::{data, is_row};

/// Rows by table and key.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Tables(pub(crate) BTreeMap<String, BTreeMap<String, Map<String, Value>>>);

impl Tables {
    /// The tables that `events` describe.
    pub(crate) fn of<'a>(events: impl IntoIterator<Item = &'a Envelope>) -> Self {
        let mut tables = Self::default();
        let mut moved: Option<Map<String, Value>> = None;
        for event in events.into_iter().filter(|event| is_row(event)) {
            tables.apply(event, &mut moved);
        }
        tables
    }

    fn apply(&mut self, event: &Envelope, moved: &mut Option<Map<String, Value>>) {
        let subject = event.subject.clone().expect("a row event names its table");
        let table = self.0.entry(subject.to_string()).or_default();
        if event.op == Some(Op::Truncate) {
            table.clear();
            return;
        }
        let key = event
            .partitionkey
            .clone()
            .expect("a row event has a key")
            .to_string();
        let data = data(event);
        match event.op {
            Some(Op::Delete) => {
                // A changed key: the values that its second half leaves out are those of the row that went.
                *moved = table.remove(&key);
            }
            _ => {
                let Value::Object(mut after) = data["after"].clone() else {
                    panic!("no row in {data}")
                };
                if let Some(unchanged) = data["unchanged"].as_array() {
                    let former = table.get(&key).cloned().or_else(|| moved.take());
                    for column in unchanged {
                        let column = column.as_str().expect("a name");
                        // While a table is being read, a change may come before the row that it changes.
                        if let Some(value) = former.as_ref().and_then(|row| row.get(column)) {
                            after.insert(column.to_owned(), value.clone());
                        }
                    }
                }
                table.insert(key, after);
            }
        }
    }
}
