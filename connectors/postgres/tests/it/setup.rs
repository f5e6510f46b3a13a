//! `headgate postgres check`, `setup` and `drop`.

use bytes::Bytes;
use futures::future::BoxFuture;
use headgate_postgres::Postgres;
use headgate_sdk::{
    Connector, LaneId, Str,
    command::{AccessError, CommandContext, CommandOutcome, ConfiguredSource, GatewayAccess},
    conformance::World,
};
use serde_json::{Value, json};

use crate::support::Database;

struct NoGateway;

impl GatewayAccess for NoGateway {
    fn control<'a>(
        &'a self,
        _: &'a str,
        _: &'a str,
        _: Value,
    ) -> BoxFuture<'a, Result<Value, AccessError>> {
        Box::pin(async { Err(AccessError::NotRunning) })
    }

    fn lanes<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Vec<LaneId>, AccessError>> {
        Box::pin(async { Err(AccessError::NotRunning) })
    }

    fn entries<'a>(
        &'a self,
        _: &'a LaneId,
        _: &'a str,
        _: Option<&'a str>,
        _: usize,
    ) -> BoxFuture<'a, Result<Vec<(Str, Bytes)>, AccessError>> {
        Box::pin(async { Err(AccessError::NotRunning) })
    }
}

pub(crate) async fn command(config: &Value, words: &[&str]) -> CommandOutcome {
    let info = World::new(1 << 20).info::<Postgres>();
    let source = ConfiguredSource {
        info,
        config: config.clone(),
        http_url: String::new(),
    };
    let sources = move || Ok(vec![source.clone()]);
    let cx = CommandContext {
        sources: &sources,
        gateway: &NoGateway,
    };
    let words = std::iter::once("postgres").chain(words.iter().copied());
    let matches = Postgres::command()
        .expect("it has commands")
        .get_matches_from(words);
    Postgres::run_command(&matches, cx).await
}

#[tokio::test(flavor = "multi_thread")]
async fn setup_makes_what_check_misses_and_drop_removes_it() {
    let database = Database::new().await;
    database
        .run("CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE nokey (x int)")
        .await;
    let config = database.config_with(json!({ "setup": false, "ddl": true }));
    assert!(matches!(
        command(&config, &["check"]).await,
        CommandOutcome::Wrong
    ));
    assert!(matches!(
        command(&config, &["setup", "--dry-run"]).await,
        CommandOutcome::Fine
    ));
    assert!(
        database.rows("SELECT FROM pg_publication").await.is_empty(),
        "a dry run changed something"
    );
    assert!(matches!(
        command(&config, &["setup"]).await,
        CommandOutcome::Fine
    ));
    let tables = database.text("SELECT string_agg(tablename, ',' ORDER BY tablename) FROM pg_publication_tables WHERE pubname = 'headgate'").await;
    assert_eq!(tables, "nokey,t");
    // A table without a replica identity refuses updates: that is wrong, not a detail.
    assert!(matches!(
        command(&config, &["check", "subject"]).await,
        CommandOutcome::Wrong
    ));
    database
        .run("ALTER TABLE nokey REPLICA IDENTITY FULL")
        .await;
    assert!(matches!(
        command(&config, &["check"]).await,
        CommandOutcome::Fine
    ));
    assert!(matches!(
        command(&config, &["setup"]).await,
        CommandOutcome::Fine
    ));
    assert!(matches!(
        command(&config, &["drop"]).await,
        CommandOutcome::Fine
    ));
    assert!(database.rows("SELECT FROM pg_publication").await.is_empty());
    assert!(
        database
            .rows("SELECT FROM pg_event_trigger")
            .await
            .is_empty()
    );
    assert!(
        database
            .rows("SELECT FROM pg_replication_slots WHERE database = current_database()")
            .await
            .is_empty()
    );
    assert!(matches!(
        command(&config, &["check", "nobody"]).await,
        CommandOutcome::Usage(_)
    ));
    let away = json!({ "url": "postgres://u:p@127.0.0.1:1/d", "tables": ["public.*"] });
    assert!(matches!(
        command(&away, &["check"]).await,
        CommandOutcome::Failed(_)
    ));
    database.drop_all().await;
}
