//! Events as a consumer folds them.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::{Map, Value};

/// Rows of one table by key.
pub(super) type Rows = BTreeMap<String, Map<String, Value>>;

/// Changes of rows only.
pub(super) fn row_events(events: &[Value]) -> impl Iterator<Item = &Value> {
    events
        .iter()
        .filter(|e| matches!(e["op"].as_str(), Some("c" | "u" | "d" | "r" | "t")))
}

/// The tables that `events` describe.
pub(super) fn fold(events: &[Value]) -> BTreeMap<String, Rows> {
    let mut tables: BTreeMap<String, Rows> = BTreeMap::new();
    let mut moved = None;
    for event in row_events(events) {
        let table = tables
            .entry(event["subject"].as_str().unwrap().to_owned())
            .or_default();
        let key = event["partitionkey"].as_str().unwrap_or_default();
        match event["op"].as_str().unwrap() {
            "t" => table.clear(),
            // A changed key: what the second half leaves out are the values of the row that went.
            "d" => moved = table.remove(key),
            _ => {
                let mut after = event["data"]["after"].as_object().unwrap().clone();
                if let Some(unchanged) = event["data"]["unchanged"].as_array() {
                    let former = table.get(key).cloned().or_else(|| moved.take());
                    for column in unchanged.iter().filter_map(Value::as_str) {
                        // While a table is being read, a change may come before the row that it changes.
                        if let Some(value) = former.as_ref().and_then(|row| row.get(column)) {
                            after.insert(column.to_owned(), value.clone());
                        }
                    }
                }
                table.insert(key.to_owned(), after);
            }
        }
    }
    tables
}

/// Every id once; changes in the order of the log; transactions in one piece.
pub(super) fn assert_orderly(events: &[Value]) {
    let mut ids = HashMap::new();
    let mut transactions = HashSet::new();
    let (mut sequence, mut transaction) = ("", "");
    for (at, event) in events.iter().enumerate() {
        let id = event["id"].as_str().unwrap();
        if let Some(first) = ids.insert(id, at) {
            let of = |at: usize| events.get(at).map(|event| &event["id"]);
            panic!(
                "{id} is in the log twice, before {:?} and, {} events later, before {:?}",
                of(first + 1),
                at - first,
                of(at + 1)
            );
        }
        if event["op"] == "r" {
            continue;
        }
        let next = event["sequence"].as_str().unwrap();
        assert!(next > sequence, "{next} came after {sequence}");
        sequence = next;
        if let Some(next) = event["data"]["transaction"]["id"].as_str()
            && next != transaction
        {
            assert!(
                transactions.insert(next),
                "transaction {next} is not in one piece"
            );
            transaction = next;
        }
    }
}
