//! The suite that every connector passes.

use std::ops::Range;

use crate::support::{Database, data};
use headgate_postgres::Postgres;
use headgate_sdk::{
    Envelope,
    conformance::{Subject, World, passes},
};
use serde_json::{Value, json};

struct Table {
    database: Database,
    streaming: bool,
}

impl Subject for Table {
    type Connector = Postgres;

    fn config(&self) -> Value {
        self.database.config_with(
            json!({ "snapshot": { "mode": "on_demand" }, "streaming": self.streaming }),
        )
    }

    fn bad_configs(&self) -> Vec<(&'static str, Value)> {
        vec![
            ("no URL", json!({ "tables": ["public.*"] })),
            (
                "no tables",
                self.database.config_with(json!({ "tables": [] })),
            ),
            (
                "a slot's name with capitals",
                self.database.config_with(json!({ "slot": "No" })),
            ),
            (
                "an unknown key",
                self.database.config_with(json!({ "tabels": [] })),
            ),
            (
                "no URL at all",
                self.database.config_with(json!({ "url": "not a url" })),
            ),
        ]
    }

    async fn produce(&mut self, numbers: Range<u64>, _: &World) {
        // Transactions of one, some and many rows.
        let mut next = numbers.start;
        while next < numbers.end {
            let size = [1, 7, 40][usize::try_from(next % 3).unwrap()];
            let end = numbers.end.min(next + size);
            self.database
                .run(&format!(
                    "INSERT INTO t SELECT n, repeat('x', 100) FROM generate_series({next}, {}) n",
                    end - 1
                ))
                .await;
            next = end;
        }
    }

    fn number(&self, event: &Envelope) -> Option<u64> {
        data(event)["after"]["id"].as_u64()
    }
}

async fn subject(streaming: bool) -> Table {
    let database = Database::new().await;
    database
        .run("CREATE TABLE t (id bigint PRIMARY KEY, x text)")
        .await;
    database.prepare().await;
    Table {
        database,
        streaming,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn passes_the_suite_with_protocol_two() {
    passes(async || subject(true).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn passes_the_suite_with_protocol_one() {
    passes(async || subject(false).await).await;
}
