//! A reader that knows nothing of Headgate: folds events into the documents that a database should hold.

use std::collections::BTreeMap;

use mongodb::{
    Database,
    bson::{Document, doc},
};
use serde_json::{Value, json};

/// `_id` to document, both as relaxed Extended JSON.
pub(crate) type Documents = BTreeMap<String, Value>;

/// What a collection holds, read and written by the library alone.
pub(crate) async fn all(database: &Database, collection: &str) -> Documents {
    use futures::TryStreamExt;
    let mut found = Documents::new();
    let mut cursor = database
        .collection::<Document>(collection)
        .find(doc! {})
        .await
        .expect("the server answers");
    while let Some(document) = cursor.try_next().await.expect("the server answers") {
        let value = serde_json::to_value(&document).expect("documents are Extended JSON");
        found.insert(value["_id"].to_string(), value);
    }
    found
}

/// What a database holds: its collections that are not empty, by `database.collection`.
pub(crate) async fn everything(
    database: &Database,
    collections: &[&str],
) -> BTreeMap<String, Documents> {
    let mut found = BTreeMap::new();
    for name in collections {
        let documents = all(database, name).await;
        if !documents.is_empty() {
            found.insert(format!("{}.{name}", database.name()), documents);
        }
    }
    found
}

/// Folds events, each the namespace and the data.
pub(crate) fn fold(
    events: impl IntoIterator<Item = (String, Value)>,
) -> BTreeMap<String, Documents> {
    let mut state: BTreeMap<String, Documents> = BTreeMap::new();
    for (namespace, data) in events {
        match data["source"]["operation"].as_str().unwrap_or_default() {
            "insert" | "update" | "replace" | "read" => {
                let documents = state.entry(namespace).or_default();
                let id = match &data["documentKey"]["_id"] {
                    Value::Null => data["after"]["_id"].to_string(),
                    id => id.to_string(),
                };
                match (&data["after"], documents.get_mut(&id)) {
                    // Not looked up, or gone by then: what changed is told all the same.
                    (Value::Null, Some(document)) => update(document, &data["updateDescription"]),
                    (Value::Null, None) => {}
                    (after, _) => drop(documents.insert(id, after.clone())),
                }
            }
            "delete" => {
                let id = data["documentKey"]["_id"].to_string();
                state.entry(namespace).or_default().remove(&id);
            }
            "drop" => drop(state.remove(&namespace)),
            "dropDatabase" => state.retain(|ns, _| !ns.starts_with(&format!("{namespace}."))),
            "rename" => {
                let documents = state.remove(&namespace).unwrap_or_default();
                let to = &data["to"];
                let to = format!(
                    "{}.{}",
                    to["db"].as_str().unwrap_or_default(),
                    to["collection"].as_str().unwrap_or_default()
                );
                state.insert(to, documents);
            }
            _ => {}
        }
    }
    state.retain(|_, documents| !documents.is_empty());
    state
}

/// Says on standard error what is different.
pub(crate) fn show_difference(
    expected: &BTreeMap<String, Documents>,
    got: &BTreeMap<String, Documents>,
) {
    for (namespace, documents) in expected {
        let got = got.get(namespace);
        let wrong: Vec<_> = documents
            .iter()
            .filter(|(id, d)| got.and_then(|g| g.get(*id)) != Some(d))
            .take(5)
            .collect();
        let more: Vec<_> = got
            .into_iter()
            .flatten()
            .filter(|(id, _)| !documents.contains_key(*id))
            .take(5)
            .collect();
        eprintln!("{namespace}: wrong or missing {wrong:?}, too many {more:?}");
    }
    eprintln!(
        "{:?} instead of {:?}",
        got.keys().collect::<Vec<_>>(),
        expected.keys().collect::<Vec<_>>()
    );
}

/// Applies an update description.
fn update(document: &mut Value, update: &Value) {
    for array in update["truncatedArrays"].as_array().into_iter().flatten() {
        let size = array["newSize"]
            .as_u64()
            .and_then(|n| usize::try_from(n).ok())
            .expect("a size");
        if let Some(Value::Array(items)) = at(document, array["field"].as_str().unwrap_or_default())
        {
            items.truncate(size);
        }
    }
    for field in update["removedFields"].as_array().into_iter().flatten() {
        let path = field.as_str().unwrap_or_default();
        let (parent, name) = match path.rsplit_once('.') {
            Some((parent, name)) => (at(document, parent), name),
            None => (Some(&mut *document), path),
        };
        if let Some(Value::Object(fields)) = parent {
            fields.remove(name);
        }
    }
    for (path, value) in update["updatedFields"].as_object().into_iter().flatten() {
        if let Some(place) = at(document, path) {
            *place = value.clone();
        }
    }
}

/// The place of a dotted path, made where it is missing.
fn at<'a>(document: &'a mut Value, path: &str) -> Option<&'a mut Value> {
    path.split('.')
        .try_fold(document, |place, step| match place {
            Value::Array(items) => {
                let i: usize = step.parse().ok()?;
                if items.len() <= i {
                    items.resize(i + 1, Value::Null);
                }
                items.get_mut(i)
            }
            place => {
                if !place.is_object() {
                    *place = json!({});
                }
                Some(place.as_object_mut()?.entry(step).or_insert(Value::Null))
            }
        })
}
