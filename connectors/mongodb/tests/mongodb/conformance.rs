//! The suite that every connector passes.

use std::ops::Range;

use headgate_mongodb::Mongodb;
use headgate_sdk::{
    Envelope,
    conformance::{Subject, World, passes},
};
use mongodb::bson::doc;
use serde_json::{Value, json};

use crate::support::{Shop, data};

struct Orders {
    shop: Shop,
    since: String,
}

impl Subject for Orders {
    type Connector = Mongodb;

    fn config(&self) -> Value {
        // The suite's events may happen before the stream is open.
        self.shop.config(json!({ "collections": ["orders"], "snapshot": { "mode": "on_demand" }, "start_at": self.since }))
    }

    fn bad_configs(&self) -> Vec<(&'static str, Value)> {
        let url = "mongodb://127.0.0.1/";
        vec![
            ("no url", json!({ "database": "a" })),
            (
                "no connection string",
                json!({ "url": "127.0.0.1", "database": "a" }),
            ),
            (
                "a database without history",
                json!({ "url": url, "database": "local" }),
            ),
            (
                "a collection of no database",
                json!({ "url": url, "collections": ["orders"] }),
            ),
            (
                "a stage that writes",
                json!({ "url": url, "pipeline": [{ "$out": "x" }] }),
            ),
            ("an unknown key", json!({ "url": url, "colections": [] })),
            (
                "empty chunks",
                json!({ "url": url, "snapshot": { "chunk_documents": 0 } }),
            ),
        ]
    }

    async fn produce(&mut self, numbers: Range<u64>, _world: &World) {
        for n in numbers {
            let n = i64::try_from(n).expect("small");
            self.shop
                .orders()
                .insert_one(doc! { "n": n })
                .await
                .expect("the server takes it");
        }
    }

    fn number(&self, event: &Envelope) -> Option<u64> {
        data(event)["after"]["n"].as_u64()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn passes_the_suite() {
    passes(async || {
        let shop = Shop::new().await;
        // A second before now, as the server's clock has whole seconds.
        let since = headgate_sdk::Timestamp::now() - std::time::Duration::from_secs(1);
        Orders {
            shop,
            since: since.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        }
    })
    .await;
}
