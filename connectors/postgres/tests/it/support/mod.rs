//! A database of its own for each test, on a real server.

pub(crate) mod cluster;
pub(crate) mod fold;
pub(crate) mod proxy;

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use headgate_sdk::{Envelope, LaneId, Op, conformance::World};
use serde_json::{Value, json};
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

/// `few` in an ordinary run, `many` when the scale of the tests is `long`.
pub(crate) fn scale(few: u64, many: u64) -> u64 {
    match std::env::var("HEADGATE_TEST_SCALE") {
        Ok(scale) if scale == "long" => many,
        _ => few,
    }
}

/// The longest that anything may take in an ordinary run.
pub(crate) const DEADLINE: Duration = Duration::from_secs(180);

/// The longest that anything may take.
fn deadline() -> Duration {
    DEADLINE * u32::try_from(scale(1, 15)).unwrap_or(1)
}

/// A database that is dropped, with its slots, by [`Database::drop_all`].
pub(crate) struct Database {
    pub(crate) name: String,
    server: String,
    pub(crate) client: Client,
}

/// The server that `variable` names.
pub(crate) fn server(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| {
        let name = if variable.starts_with("POSTGRES18") { "postgres18" } else { "postgres15" };
        panic!("{variable} is not set: run `eval \"$(scripts/services start {name})\"`, or let it name a server of your own")
    })
}

impl Database {
    /// A fresh database on the server of `POSTGRES_URL`.
    pub(crate) async fn new() -> Self {
        Self::on("POSTGRES_URL").await
    }

    /// A fresh database on the server that `variable` names.
    pub(crate) async fn on(variable: &str) -> Self {
        Self::with(server(variable), "").await
    }

    /// A fresh database on `server`, created with `options`.
    pub(crate) async fn with(server: String, options: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "t_{}_{}",
            std::process::id(),
            NUMBER.fetch_add(1, Ordering::Relaxed)
        );
        let admin = connect(&server).await;
        admin
            .batch_execute(&format!("CREATE DATABASE {name} {options}"))
            .await
            .expect("a database can be created");
        let client = connect(&with_database(&server, &name)).await;
        Self {
            name,
            server,
            client,
        }
    }

    /// The database `name` of `server`, which exists.
    pub(crate) async fn existing(server: String, name: &str) -> Self {
        let client = connect(&with_database(&server, name)).await;
        Self {
            name: name.to_owned(),
            server,
            client,
        }
    }

    /// The URL of a database of this name on another server.
    pub(crate) fn url_at(&self, server: &str) -> String {
        with_database(server, &self.name)
    }

    /// Its URL.
    pub(crate) fn url(&self) -> String {
        with_database(&self.server, &self.name)
    }

    /// Its URL for another role.
    pub(crate) fn url_as(&self, user: &str, password: &str) -> String {
        let url = self.url();
        let (_, rest) = url.split_once('@').expect("the URL has credentials");
        format!("postgres://{user}:{password}@{rest}")
    }

    pub(crate) fn slot(&self) -> String {
        format!("slot_{}", self.name)
    }

    /// A configuration that captures everything in `public`.
    pub(crate) fn config(&self) -> Value {
        json!({ "url": self.url(), "tables": ["public.*"], "slot": self.slot(), "publication": "headgate", "heartbeat": "200ms" })
    }

    /// The same, with more keys.
    pub(crate) fn config_with(&self, more: Value) -> Value {
        let mut config = self.config();
        let Value::Object(more) = more else {
            panic!("an object")
        };
        for (key, value) in more {
            config[key] = value;
        }
        config
    }

    pub(crate) async fn run(&self, sql: &str) {
        if let Err(error) = self.client.batch_execute(sql).await {
            panic!("{sql}: {error:?}");
        }
    }

    pub(crate) async fn rows(&self, sql: &str) -> Vec<Vec<Option<String>>> {
        rows(&self.client, sql).await
    }

    pub(crate) async fn text(&self, sql: &str) -> String {
        let rows = self.rows(sql).await;
        rows[0][0].clone().unwrap_or_default()
    }

    pub(crate) async fn another(&self) -> Client {
        connect(&self.url()).await
    }

    /// Creates publication and slot, so that everything from now on is streamed.
    pub(crate) async fn prepare(&self) {
        self.run(
            "CREATE PUBLICATION headgate FOR ALL TABLES WITH (publish_via_partition_root = true)",
        )
        .await;
        let sql = format!(
            "SELECT pg_create_logical_replication_slot('{}', 'pgoutput')",
            self.slot()
        );
        self.run(&sql).await;
    }

    /// Removes slots and database.
    pub(crate) async fn drop_all(self) {
        let admin = connect(&self.server).await;
        let mut left = 50;
        loop {
            let slots = rows(
                &admin,
                &format!(
                    "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = '{}' AND NOT active",
                    self.name
                ),
            )
            .await;
            let _dropped = slots;
            let active = rows(
                &admin,
                &format!(
                    "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE database = '{}' AND active",
                    self.name
                ),
            )
            .await;
            left -= 1;
            if active.is_empty() || left == 0 {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(self.client);
        let _gone = admin
            .batch_execute(&format!("DROP DATABASE {} WITH (FORCE)", self.name))
            .await;
    }
}

pub(crate) async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls)
        .await
        .unwrap_or_else(|error| panic!("the server does not answer: {error:?}"));
    tokio::spawn(connection);
    client
}

pub(crate) async fn rows(client: &Client, sql: &str) -> Vec<Vec<Option<String>>> {
    let messages = client
        .simple_query(sql)
        .await
        .unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    messages
        .iter()
        .filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(
                (0..row.len())
                    .map(|i| row.get(i).map(str::to_owned))
                    .collect(),
            ),
            _ => None,
        })
        .collect()
}

fn with_database(url: &str, name: &str) -> String {
    let (head, _) = url.rsplit_once('/').expect("the URL names a database");
    format!("{head}/{name}")
}

/// The lane of a test's source.
pub(crate) fn lane(database: &Database) -> LaneId {
    LaneId::from_stored(format!("subject/{}", database.slot()))
}

/// All durable events so far.
pub(crate) fn durable(world: &World) -> Vec<Envelope> {
    world
        .lanes
        .sent()
        .into_values()
        .flat_map(|sent| sent.durable)
        .collect()
}

/// Waits until the durable events satisfy `enough`.
pub(crate) async fn wait_for(
    world: &World,
    what: &str,
    mut enough: impl FnMut(&[Envelope]) -> bool,
) {
    let waiting = world.lanes.wait_for(|sent| {
        let events: Vec<Envelope> = sent.values().flat_map(|s| s.durable.clone()).collect();
        enough(&events)
    });
    if tokio::time::timeout(deadline(), waiting).await.is_err() {
        gave_up(world, what);
    }
}

/// Waits until `is_last` says so about a durable event; it is shown each one once, so that there may be very many.
pub(crate) async fn wait_for_event(
    world: &World,
    what: &str,
    is_last: impl FnMut(&Envelope) -> bool,
) {
    let waiting = world.lanes.wait_for_event(is_last);
    if tokio::time::timeout(deadline(), waiting).await.is_err() {
        gave_up(world, what);
    }
}

/// Waits until `count` events are durable, of which there may be very many.
pub(crate) async fn wait_for_count(world: &World, what: &str, count: usize) {
    let mut seen = 0;
    wait_for_event(world, what, |_| {
        seen += 1;
        seen >= count
    })
    .await;
}

fn gave_up(world: &World, what: &str) -> ! {
    let events = durable(world);
    let last = events.last().map(|e| (e.id.clone(), data(e)));
    panic!(
        "{what} did not happen within {:?}; {} events, the last {last:?}",
        deadline(),
        events.len()
    );
}

/// Polls until `check` gives something.
pub(crate) async fn until<T>(what: &str, mut check: impl AsyncFnMut() -> Option<T>) -> T {
    let found = async {
        let mut tick = tokio::time::interval(Duration::from_millis(50));
        loop {
            tick.tick().await;
            if let Some(found) = check().await {
                return found;
            }
        }
    };
    match tokio::time::timeout(deadline(), found).await {
        Ok(found) => found,
        Err(_) => panic!("{what} did not happen within {:?}", deadline()),
    }
}

/// An event's data.
pub(crate) fn data(event: &Envelope) -> Value {
    match event.data.bytes() {
        Some(bytes) => serde_json::from_slice(bytes).expect("the data is JSON"),
        None => Value::Null,
    }
}

pub(crate) fn is_row(event: &Envelope) -> bool {
    matches!(
        event.op,
        Some(Op::Create | Op::Update | Op::Delete | Op::Read | Op::Truncate)
    ) && !event.data.is_empty()
}
