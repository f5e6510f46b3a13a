//! A database of a test's own.

use std::time::{Duration, Instant};

use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

use crate::support::{self, unique};

/// The longest that the log may take to hold everything.
fn deadline() -> Duration {
    Duration::from_secs(support::scale(240, 1_800))
}

/// A database that [`Database::drop_all`] removes with its slots.
pub(super) struct Database {
    pub(super) name: String,
    server: String,
    client: Client,
}

impl Database {
    pub(super) async fn new() -> Self {
        Self::on("POSTGRES_URL", "postgres15").await
    }

    /// On the server that `variable` names; `service` starts it.
    pub(super) async fn on(variable: &str, service: &str) -> Self {
        let server = support::server(variable, service);
        let name = unique("gateway").replace('-', "_");
        let admin = connect(&server).await;
        admin
            .batch_execute(&format!("CREATE DATABASE {name}"))
            .await
            .unwrap();
        let client = connect(&at(&server, &name)).await;
        Self {
            name,
            server,
            client,
        }
    }

    /// One with an empty table `numbers`, a publication and a slot for [`source`](Self::source).
    pub(super) async fn with_numbers() -> Self {
        let database = Self::new().await;
        database
            .run("CREATE TABLE numbers (id bigint PRIMARY KEY)")
            .await;
        database
            .run("CREATE PUBLICATION headgate FOR ALL TABLES WITH (publish_via_partition_root = true)")
            .await;
        database.slot(&database.name).await;
        database
    }

    /// The configuration of a source of all tables that reads the slot with the database's name, without a snapshot.
    pub(super) fn source(&self) -> String {
        format!(
            "{{ type: postgres, url: \"{}\", tables: [\"public.*\"], slot: {}, publication: headgate, heartbeat: 200ms, snapshot: {{ mode: on_demand }} }}",
            self.url(),
            self.name
        )
    }

    pub(super) fn url(&self) -> String {
        at(&self.server, &self.name)
    }

    /// Another session.
    pub(super) async fn another(&self) -> Client {
        connect(&self.url()).await
    }

    pub(super) async fn run(&self, sql: &str) {
        if let Err(error) = self.client.batch_execute(sql).await {
            panic!("{sql}: {error:?}");
        }
    }

    pub(super) async fn rows(&self, sql: &str) -> Vec<Vec<Option<String>>> {
        rows(&self.client, sql).await
    }

    pub(super) async fn slot(&self, name: &str) {
        let sql = format!("SELECT pg_create_logical_replication_slot('{name}', 'pgoutput')");
        self.run(&sql).await;
    }

    /// Waits until all slots are confirmed up to where the server's log ends now: everything before is durable then.
    pub(super) async fn all_confirmed(&self) {
        let end = self.rows("SELECT pg_current_wal_insert_lsn()").await[0][0]
            .clone()
            .unwrap();
        let sql = format!(
            "SELECT bool_and(confirmed_flush_lsn >= '{end}') FROM pg_replication_slots WHERE database = current_database() AND NOT temporary"
        );
        let begun = Instant::now();
        while self.rows(&sql).await[0][0].as_deref() != Some("t") {
            assert!(
                begun.elapsed() < deadline(),
                "the slots do not get to {end}"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub(super) async fn drop_all(self) {
        let admin = connect(&self.server).await;
        let slots = format!(
            "SELECT slot_name, pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE database = '{}'",
            self.name
        );
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(20) {
            let left = rows(&admin, &slots).await;
            if left.is_empty() {
                break;
            }
            for slot in left {
                let slot = slot[0].clone().unwrap();
                // A walsender takes a moment to end.
                let _tried = admin
                    .batch_execute(&format!("SELECT pg_drop_replication_slot('{slot}')"))
                    .await;
            }
        }
        drop(self.client);
        let _gone = admin
            .batch_execute(&format!("DROP DATABASE {} WITH (FORCE)", self.name))
            .await;
    }
}

pub(super) async fn rows(client: &Client, sql: &str) -> Vec<Vec<Option<String>>> {
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

async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

fn at(server: &str, name: &str) -> String {
    let (head, _) = server.rsplit_once('/').unwrap();
    format!("{head}/{name}")
}
