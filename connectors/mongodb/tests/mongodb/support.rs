//! What the tests share: a database of their own, fail points of their own, and a reader that folds events into documents.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use headgate_mongodb::Mongodb;
use headgate_sdk::{
    Envelope, LaneId,
    conformance::{MemoryLanes, Run, World},
};
use mongodb::{
    Client, Database,
    bson::{Document, doc},
};
use serde_json::{Value, json};

pub(crate) const DEADLINE: Duration = Duration::from_secs(90);

/// Counts are small in `make test`, and large with `HEADGATE_LONG=1`.
pub(crate) fn count(small: usize, large: usize) -> usize {
    match std::env::var("HEADGATE_LONG").as_deref() {
        Ok("1") => large,
        _ => small,
    }
}

/// The server that `MONGODB_URL` names.
pub(crate) fn url() -> String {
    std::env::var("MONGODB_URL").unwrap_or_else(|_| {
        panic!("MONGODB_URL is not set: run `eval \"$(scripts/services start mongodb)\"`, or point it at a replica set")
    })
}

/// A database of its own, and a name under which the source alone connects.
pub(crate) struct Shop {
    pub(crate) client: Client,
    pub(crate) database: Database,
    pub(crate) world: World,
    url: String,
    application: String,
}

impl Shop {
    pub(crate) async fn new() -> Self {
        Self::on(&url()).await
    }

    pub(crate) async fn on(url: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "headgate_test_{}_{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let client = Client::with_uri_str(url)
            .await
            .expect("MONGODB_URL is a connection string");
        let database = client.database(&name);
        database.drop().await.expect("the server answers");
        let separator = if url.contains('?') { '&' } else { '?' };
        Self {
            client,
            database,
            world: World::new(4 << 20),
            url: format!("{url}{separator}appName={name}"),
            application: name,
        }
    }

    pub(crate) fn name(&self) -> &str {
        self.database.name()
    }

    pub(crate) fn orders(&self) -> mongodb::Collection<Document> {
        self.database.collection("orders")
    }

    /// A configuration: the database, and what `more` adds or replaces.
    pub(crate) fn config(&self, more: Value) -> Value {
        let mut config = json!({ "url": self.url, "database": self.name() });
        for (key, value) in more.as_object().expect("an object") {
            config[key] = value.clone();
        }
        config
    }

    pub(crate) fn start(&self, more: Value) -> Run {
        self.world
            .start::<Mongodb>(self.config(more))
            .expect("the configuration is good")
    }

    /// Makes commands of this test's source fail.
    pub(crate) async fn fail(&self, mode: Document, commands: &[&str], mut how: Document) {
        how.insert("failCommands", commands.to_vec());
        how.insert("appName", &self.application);
        self.client
            .database("admin")
            .run_command(doc! { "configureFailPoint": "failCommand", "mode": mode, "data": how })
            .await
            .expect("the server was started with --enable-test-commands");
    }

    /// Waits until the source has stored where it is, so that what happens next is an event.
    pub(crate) async fn is_open(&self) {
        let lanes = &self.world.lanes;
        within(
            "open the stream",
            lanes.wait_for(|_| lanes.stored_position(&lane()).is_some()),
        )
        .await;
    }

    /// All durable events in order.
    pub(crate) fn events(&self) -> Vec<Envelope> {
        self.world
            .lanes
            .sent()
            .into_values()
            .flat_map(|sent| sent.durable)
            .collect()
    }

    /// Waits until the folded events are what the database holds.
    pub(crate) async fn is_rebuilt(&self, collections: &[&str]) {
        let mut expected = BTreeMap::new();
        for name in collections {
            let documents = all(&self.database, name).await;
            if !documents.is_empty() {
                expected.insert(format!("{}.{name}", self.name()), documents);
            }
        }
        let mut last = BTreeMap::new();
        let same = self.world.lanes.wait_for(|sent| {
            last = fold(sent.values().flat_map(|sent| &sent.durable));
            last == expected
        });
        if tokio::time::timeout(DEADLINE, same).await.is_err() {
            for (namespace, documents) in &expected {
                let got = last.get(namespace);
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
            panic!(
                "the events do not fold into what the database holds: {:?} instead of {:?}",
                last.keys(),
                expected.keys()
            );
        }
    }
}

/// The only lane of the source under test.
pub(crate) fn lane() -> LaneId {
    LaneId::from_stored("subject/")
}

pub(crate) async fn within<T>(what: &str, work: impl Future<Output = T>) -> T {
    match tokio::time::timeout(DEADLINE, work).await {
        Ok(done) => done,
        Err(_) => panic!("the source did not {what} within {DEADLINE:?}"),
    }
}

pub(crate) async fn durable(lanes: &MemoryLanes, what: &str, enough: impl Fn(&[Envelope]) -> bool) {
    within(
        what,
        lanes.wait_for(|sent| sent.get(&lane()).is_some_and(|sent| enough(&sent.durable))),
    )
    .await;
}

/// `_id` to document, both as relaxed Extended JSON.
type Documents = BTreeMap<String, Value>;

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

/// Folds events as any consumer would.
pub(crate) fn fold<'a>(
    events: impl IntoIterator<Item = &'a Envelope>,
) -> BTreeMap<String, Documents> {
    let mut state: BTreeMap<String, Documents> = BTreeMap::new();
    for event in events {
        let data = data(event);
        let namespace = event.subject.clone().unwrap_or_default().to_string();
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

pub(crate) fn data(event: &Envelope) -> Value {
    match event.data.bytes() {
        Some(bytes) => serde_json::from_slice(bytes).expect("the data is JSON"),
        None => Value::Null,
    }
}

/// A server of its own, with options of its own, that ends with the test.
pub(crate) struct OwnServer {
    folder: tempfile::TempDir,
    pub(crate) url: String,
}

impl OwnServer {
    pub(crate) fn start(options: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let run = services(folder.path(), "start", options);
        let url = run
            .lines()
            .find_map(|line| line.strip_prefix("export MONGODB_URL="))
            .expect("scripts/services prints the URL")
            .trim_matches(['\'', '"'])
            .to_owned();
        Self { folder, url }
    }
}

impl Drop for OwnServer {
    fn drop(&mut self) {
        services(self.folder.path(), "stop", "");
    }
}

fn services(folder: &Path, what: &str, options: &str) -> String {
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../scripts/services");
    let output = Command::new(script)
        .args([what, "mongodb"])
        .env("HEADGATE_SERVICES_DIR", folder)
        .env("HEADGATE_MONGODB_OPTIONS", options)
        .output()
        .expect("scripts/services runs");
    assert!(
        output.status.success(),
        "scripts/services {what} mongodb failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}
