//! What the tests share: a database of their own, servers of their own, and waiting.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use headgate_mongodb::Mongodb;
use headgate_sdk::{
    Batch, Envelope, LaneId, LaneSpec, Lanes, Position, Replay, Str,
    conformance::{MemoryLanes, Run, World},
};
use mongodb::{
    Client, Database,
    bson::{Bson, Document},
};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use crate::{
    faults::Faults,
    fold::{self, Documents},
};

pub(crate) const DEADLINE: Duration = Duration::from_secs(180);

/// `small` in an ordinary run, `large` when the scale of the tests is `long`.
pub(crate) fn scale(small: usize, large: usize) -> usize {
    if is_long() { large } else { small }
}

fn is_long() -> bool {
    std::env::var("HEADGATE_TEST_SCALE").is_ok_and(|scale| scale == "long")
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
    faults: Mutex<Option<Faults>>,
}

impl Shop {
    pub(crate) async fn new() -> Self {
        Self::on(&url()).await
    }

    pub(crate) async fn on(url: &str) -> Self {
        Self::between(url, url).await
    }

    /// The test goes to the server by the first connection string, the source by the second.
    pub(crate) async fn between(url: &str, source: &str) -> Self {
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
        let separator = if source.contains('?') { '&' } else { '?' };
        Self {
            client,
            database,
            world: World::new(4 << 20),
            url: format!("{source}{separator}appName={name}"),
            application: name,
            faults: Mutex::default(),
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

    /// Makes commands of this test's source fail. From the first call on, no other test can do so until this one is
    /// [calm](Self::calm) or gone.
    pub(crate) async fn fail(&self, mode: impl Into<Bson>, commands: &[&str], how: Document) {
        let mut held = self.faults.lock().await;
        let faults = match held.take() {
            Some(faults) => faults,
            None => Faults::of(&self.client, &self.application).await,
        };
        held.insert(faults).set(mode, commands, how).await;
    }

    /// Nothing fails any more.
    pub(crate) async fn calm(&self) {
        let held = self.faults.lock().await.take();
        drop(held);
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

    /// Stores a position, as an earlier run would have.
    pub(crate) async fn store(&self, position: Value) {
        let lanes = Lanes::new(std::sync::Arc::new(self.world.lanes.clone()));
        let spec = LaneSpec {
            name: Str::default(),
            tenant: "default".into(),
            class: "default".into(),
            replay: Replay::FromSource,
        };
        let lane = lanes.open(spec).await.expect("the lane opens");
        let batch = Batch {
            position: Some(Position::encode(&position)),
            ..Batch::default()
        };
        let permit = lane.reserve(batch.weight()).await.expect("there is room");
        drop(permit.send(batch));
    }

    /// Waits until the folded events are what the database holds.
    pub(crate) async fn is_rebuilt(&self, collections: &[&str]) {
        let expected = fold::everything(&self.database, collections).await;
        let deadline = if is_long() { 10 * DEADLINE } else { DEADLINE };
        let began = Instant::now();
        loop {
            let asked = Instant::now();
            let got = fold(&self.events());
            if got == expected {
                return;
            }
            if began.elapsed() > deadline {
                fold::show_difference(&expected, &got);
                panic!("the events do not fold into what the database holds");
            }
            // Folding many events takes long: half of the time is left to the source.
            tokio::time::sleep(asked.elapsed().max(Duration::from_millis(5))).await;
        }
    }
}

/// The only lane of the source under test.
pub(crate) fn lane() -> LaneId {
    LaneId::from_stored("subject/")
}

pub(crate) async fn within<T>(what: &str, work: impl Future<Output = T>) -> T {
    let deadline = if is_long() { 10 * DEADLINE } else { DEADLINE };
    match tokio::time::timeout(deadline, work).await {
        Ok(done) => done,
        Err(_) => panic!("the source did not {what} within {deadline:?}"),
    }
}

pub(crate) async fn durable(lanes: &MemoryLanes, what: &str, enough: impl Fn(&[Envelope]) -> bool) {
    within(
        what,
        lanes.wait_for(|sent| sent.get(&lane()).is_some_and(|sent| enough(&sent.durable))),
    )
    .await;
}

/// Waits until a condition holds.
pub(crate) async fn until(what: &str, condition: impl Fn() -> bool) {
    let holds = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    within(what, holds).await;
}

/// Folds events as any consumer would.
pub(crate) fn fold<'a>(
    events: impl IntoIterator<Item = &'a Envelope>,
) -> std::collections::BTreeMap<String, Documents> {
    fold::fold(events.into_iter().map(|event| {
        let namespace = event.subject.clone().unwrap_or_default().to_string();
        (namespace, data(event))
    }))
}

pub(crate) fn data(event: &Envelope) -> Value {
    match event.data.bytes() {
        Some(bytes) => serde_json::from_slice(bytes).expect("the data is JSON"),
        None => Value::Null,
    }
}
