//! The server's `failCommand` fail point. A server has one for all of its clients, so only one test at a time may set it: whoever
//! holds a document in a collection of the server's.

use std::time::{Duration, Instant};

use mongodb::{
    Client, Collection,
    bson::{DateTime, Document, doc},
};

/// How long it may be held without being used; then its holder is gone.
const LEASE: Duration = Duration::from_secs(300);
const DEADLINE: Duration = Duration::from_secs(900);

/// The right to set the fail point, until it is dropped.
pub(crate) struct Faults {
    client: Client,
    application: String,
}

impl Faults {
    /// Waits for the right to make commands of `application` fail.
    pub(crate) async fn of(client: &Client, application: &str) -> Self {
        let asked = Instant::now();
        let locks = locks(client);
        loop {
            let stale = doc! { "_id": "failCommand", "until": { "$lt": DateTime::now() } };
            locks
                .delete_one(stale)
                .await
                .expect("the server takes a delete");
            let lock = doc! { "_id": "failCommand", "by": application, "until": until() };
            if locks.insert_one(lock).await.is_ok() {
                return Self {
                    client: client.clone(),
                    application: application.to_owned(),
                };
            }
            assert!(
                asked.elapsed() < DEADLINE,
                "another test holds the server's fail point"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Makes commands of the application fail.
    pub(crate) async fn set(
        &self,
        mode: impl Into<mongodb::bson::Bson>,
        commands: &[&str],
        mut how: Document,
    ) {
        locks(&self.client)
            .update_one(
                doc! { "_id": "failCommand" },
                doc! { "$set": { "until": until() } },
            )
            .await
            .expect("the server takes an update");
        how.insert("failCommands", commands.to_vec());
        how.insert("appName", &self.application);
        self.configure(
            doc! { "configureFailPoint": "failCommand", "mode": mode.into(), "data": how },
        )
        .await;
    }

    /// Lets everything succeed again.
    async fn clear(&self) {
        self.configure(doc! { "configureFailPoint": "failCommand", "mode": "off" })
            .await;
    }

    async fn configure(&self, command: Document) {
        self.client
            .database("admin")
            .run_command(command)
            .await
            .expect("the server was started with its test commands enabled");
    }
}

impl Drop for Faults {
    fn drop(&mut self) {
        let give_back = async {
            self.clear().await;
            let _gone = locks(&self.client)
                .delete_one(doc! { "_id": "failCommand", "by": &self.application })
                .await;
        };
        tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(give_back));
    }
}

fn locks(client: &Client) -> Collection<Document> {
    client.database("headgate_tests").collection("locks")
}

fn until() -> DateTime {
    DateTime::from_millis(DateTime::now().timestamp_millis() + LEASE.as_millis() as i64)
}
