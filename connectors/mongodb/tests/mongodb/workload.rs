//! Writes at random, always the same for the same seed.

use mongodb::{
    Database,
    bson::{Document, doc},
    error::ErrorKind,
};

const NAMES: [&str; 3] = ["orders", "items", "people"];
/// The collections that may hold something afterwards.
pub(crate) const COLLECTIONS: [&str; 4] = ["orders", "items", "people", "kept"];

/// Inserts, replaces, updates of nested fields and arrays, unsets, deletes, transactions (some of them aborted), drops, renames.
pub(crate) struct Workload {
    pub(crate) random: fastrand::Rng,
    database: Database,
    pub(crate) transactions: u32,
}

impl Workload {
    pub(crate) fn new(database: Database, seed: u64) -> Self {
        Self {
            random: fastrand::Rng::with_seed(seed),
            database,
            transactions: 0,
        }
    }

    /// One of them. What the network swallowed has happened or not: the collections say which.
    pub(crate) async fn step(&mut self) {
        let name = NAMES[self.random.usize(..NAMES.len())];
        let collection = self.database.collection::<Document>(name);
        let id = self.random.i32(..40);
        let query = doc! { "_id": id };
        let n = self.random.i64(..);
        let done = match self.random.u32(..100) {
            0..35 => {
                let replacement = doc! { "_id": id, "n": n, "nested": { "a": 1, "b": [1, 2, { "c": "x" }] }, "text": "é\"".repeat(self.random.usize(..20)) };
                collection
                    .replace_one(query, replacement)
                    .upsert(true)
                    .await
                    .map(drop)
            }
            35..50 => collection
                .update_one(
                    query,
                    doc! { "$set": { "n": n, "nested.a": n, "nested.b.2.c": "y" } },
                )
                .await
                .map(drop),
            50..58 => collection
                .update_one(
                    query,
                    doc! { "$push": { "list": n }, "$unset": { "text": "" } },
                )
                .await
                .map(drop),
            58..64 => collection
                .update_one(query, doc! { "$set": { "list": [] } })
                .await
                .map(drop),
            64..80 => collection.delete_one(query).await.map(drop),
            80..95 => self.transaction(id).await,
            95..97 => self.database.collection::<Document>(name).drop().await,
            _ => self.rename(name).await,
        };
        if let Err(error) = done {
            let network = matches!(
                *error.kind,
                ErrorKind::Io(_)
                    | ErrorKind::ConnectionPoolCleared { .. }
                    | ErrorKind::ServerSelection { .. }
            );
            assert!(network, "the server does not take it: {error}");
        }
    }

    async fn transaction(&mut self, id: i32) -> mongodb::error::Result<()> {
        self.transactions += 1;
        // Collections must exist outside of it.
        for name in NAMES {
            let _exists = self.database.create_collection(name).await;
        }
        let mut session = self.database.client().start_session().await?;
        session.start_transaction().await?;
        for (i, name) in NAMES.iter().enumerate() {
            let id = (id + i32::try_from(i).unwrap_or(0) * 7) % 40;
            let collection = self.database.collection::<Document>(name);
            collection
                .delete_one(doc! { "_id": id })
                .session(&mut session)
                .await?;
            collection
                .insert_one(doc! { "_id": id, "by": "transaction", "n": self.random.i64(..) })
                .session(&mut session)
                .await?;
        }
        if self.random.u32(..4) == 0 {
            session.abort_transaction().await
        } else {
            session.commit_transaction().await
        }
    }

    async fn rename(&mut self, name: &str) -> mongodb::error::Result<()> {
        let existing = self.database.list_collection_names().await?;
        if !existing.iter().any(|n| n == name) {
            return Ok(());
        }
        let to = format!("{}.kept", self.database.name());
        self.database.client().database("admin").run_command(doc! {
            "renameCollection": format!("{}.{name}", self.database.name()), "to": &to, "dropTarget": true,
        }).await.map(drop)
    }
}
