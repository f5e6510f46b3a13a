//! Who sends numbered events: clients, a program that drops files, an application with a database.

use std::{net::SocketAddr, path::Path, sync::Arc};

use hyper::StatusCode;
use parking_lot::Mutex;
use tokio_postgres::NoTls;
use tokio_util::sync::CancellationToken;

use super::audit::Accepted;
use crate::support::{http::Client, server};

pub(super) type Shared = Arc<Mutex<Accepted>>;

/// Posts one event after the other until the gateway dies; returns the next number.
pub(super) async fn post(
    address: SocketAddr,
    client: u64,
    mut number: u64,
    accepted: Shared,
    stop: CancellationToken,
) -> u64 {
    let key = format!("w{client}");
    while !stop.is_cancelled() {
        let Some(mut connection) = Client::connect(address).await else {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            continue;
        };
        while !stop.is_cancelled() {
            let body = format!(r#"{{"object_kind":"push","key":"{key}","number":{number}}}"#);
            let headers = [
                ("x-gitlab-token", "s3cret"),
                ("content-type", "application/json"),
            ];
            // Who gets no answer does not know, and goes on with another number.
            number += 1;
            match connection.post("/webhook/hooks", &headers, body).await {
                Some((StatusCode::ACCEPTED, _)) => accepted.lock().add(&key, number - 1),
                Some((StatusCode::SERVICE_UNAVAILABLE, _)) => break,
                Some((status, body)) => panic!("event {number}: {status} {body:?}"),
                None => break,
            }
        }
    }
    number
}

/// Drops files of records, each file with a key of its own.
pub(super) async fn drop_files(folder: &Path, accepted: Shared, stop: CancellationToken) {
    let inbox = folder.join("inbox");
    let mut file = 0_u64;
    while !stop.is_cancelled() {
        file += 1;
        let key = format!("f{file}");
        let lines: String = (0..10)
            .map(|number| format!("{{\"key\":\"{key}\",\"number\":{number}}}\n"))
            .collect();
        let part = inbox.join(format!("{key}.jsonl.part"));
        std::fs::write(&part, lines).unwrap();
        std::fs::rename(&part, inbox.join(format!("{key}.jsonl"))).unwrap();
        (0..10).for_each(|number| accepted.lock().add(&key, number));
        tokio::time::sleep(std::time::Duration::from_millis(150)).await;
    }
}

/// A database of the test's own, with a table `ledger`.
pub(super) struct Database {
    pub(super) name: String,
    pub(super) url: String,
    server: String,
    client: tokio_postgres::Client,
}

impl Database {
    pub(super) async fn new(name: &str) -> Self {
        let server = server("POSTGRES18_URL", "postgres18");
        let admin = connect(&server).await;
        admin
            .batch_execute(&format!("CREATE DATABASE {name}"))
            .await
            .unwrap();
        let (head, _) = server.rsplit_once('/').unwrap();
        let url = format!("{head}/{name}");
        let client = connect(&url).await;
        let tables = "CREATE TABLE ledger (id bigserial PRIMARY KEY, key text, number bigint); \
                      CREATE PUBLICATION headgate FOR ALL TABLES WITH (publish_via_partition_root = true)";
        client.batch_execute(tables).await.unwrap();
        let slot = format!("SELECT pg_create_logical_replication_slot('{name}', 'pgoutput')");
        client.batch_execute(&slot).await.unwrap();
        Self {
            name: name.to_owned(),
            url,
            server,
            client,
        }
    }

    /// Commits numbered rows, some in one transaction, for four keys.
    pub(super) async fn insert(&self, accepted: Shared, stop: CancellationToken) {
        let client = connect(&self.url).await;
        let mut number = 0;
        while !stop.is_cancelled() {
            let rows = 1 + number % 5;
            let values: Vec<_> = (number..number + rows)
                .map(|number| format!("('p{}', {number})", number % 4))
                .collect();
            let insert = format!(
                "INSERT INTO ledger (key, number) VALUES {}",
                values.join(", ")
            );
            client.batch_execute(&insert).await.unwrap();
            for number in number..number + rows {
                accepted.lock().add(&format!("p{}", number % 4), number);
            }
            number += rows;
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    }

    /// Cuts the gateway's replication connection.
    pub(super) async fn cut(&self) {
        let cut = format!(
            "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = '{}' AND active",
            self.name
        );
        self.client.batch_execute(&cut).await.unwrap();
    }

    /// Removes slot and database.
    pub(super) async fn drop_all(self) {
        let admin = connect(&self.server).await;
        drop(self.client);
        let slot = format!(
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = '{}' AND NOT active",
            self.name
        );
        while admin.batch_execute(&slot).await.is_err() {
            tokio::task::yield_now().await;
        }
        let _in_use = admin
            .batch_execute(&format!("DROP DATABASE {} WITH (FORCE)", self.name))
            .await;
    }
}

async fn connect(url: &str) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}
