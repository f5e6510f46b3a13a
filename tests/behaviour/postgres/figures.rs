//! What `/metrics` says about a slot and the sinks behind it.

use std::time::Duration;

use super::database::Database;
use crate::support::{
    gateway::{DEADLINE, Place, Running},
    http::Client,
};

/// The value of a gauge with these labels (in the order in which they are written), if it is there.
async fn gauge(running: &Running, name: &str, labels: &str) -> Option<f64> {
    let mut client = Client::connect(running.admin).await?;
    let (_, body) = client.get("/metrics").await?;
    let text = String::from_utf8(body.to_vec()).unwrap();
    let start = format!("{name}{{{labels}}} ");
    text.lines()
        .find_map(|line| line.strip_prefix(&start)?.parse().ok())
}

/// Waits until a gauge satisfies `is_right`.
async fn wait_for(running: &Running, name: &str, labels: &str, is_right: impl Fn(f64) -> bool) {
    let begun = std::time::Instant::now();
    loop {
        let value = gauge(running, name, labels).await;
        if value.is_some_and(&is_right) {
            return;
        }
        assert!(
            begun.elapsed() < DEADLINE,
            "{name}{{{labels}}} is {value:?}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn figures_tell_lag_slot_and_slots_that_nobody_reads() {
    let database = Database::new().await;
    let (group, slot) = (&database.name, format!("{}_crm", database.name));
    let forgotten = format!("{group}_forgotten");
    database
        .run("CREATE TABLE t (id int PRIMARY KEY); CREATE PUBLICATION headgate FOR ALL TABLES")
        .await;
    database.slot(&forgotten).await;
    let folder = tempfile::tempdir().unwrap();
    // A sink that nobody answers for.
    let place = Place::new(
        folder.path(),
        &format!(
            "group: {group}\nsources:\n  crm: {{ type: postgres, url: \"{}\", tables: [\"public.*\"], publication: headgate, heartbeat: 200ms }}\n\
             sinks:\n  away: {{ type: kafka, brokers: \"127.0.0.1:1\" }}\n",
            database.url()
        ),
    );
    let running = place.start().await;
    let ours = format!("source=\"crm\",slot=\"{slot}\"");
    wait_for(
        &running,
        "headgate_postgres_slot_retained_bytes",
        &ours,
        |bytes| bytes > 0.0,
    )
    .await;
    let status = format!("{ours},status=\"reserved\"");
    wait_for(
        &running,
        "headgate_postgres_slot_wal_status",
        &status,
        |is| is == 1.0,
    )
    .await;
    let unused = format!("source=\"crm\",slot=\"{forgotten}\"");
    let retained = "headgate_postgres_unused_slot_retained_bytes";
    wait_for(&running, retained, &unused, |bytes| bytes > 0.0).await;
    database
        .run(&format!("SELECT pg_drop_replication_slot('{forgotten}')"))
        .await;
    wait_for(&running, retained, &unused, |bytes| bytes == 0.0).await;

    let lag = "headgate_postgres_lag_seconds";
    wait_for(&running, lag, "source=\"crm\"", |seconds| seconds == 0.0).await;
    database.run("INSERT INTO t VALUES (1)").await;
    wait_for(&running, lag, "source=\"crm\"", |seconds| seconds > 1.0).await;
    running.kill();
    database.drop_all().await;
}

/// Where a large transaction lies before it commits: streamed, in our spool; not streamed, on the server's disk.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn figures_tell_where_an_open_transaction_lies() {
    let database = Database::new().await;
    database
        .run(&format!(
            "CREATE TABLE t (id int PRIMARY KEY, x text); CREATE PUBLICATION headgate FOR ALL TABLES;
             ALTER DATABASE {} SET logical_decoding_work_mem = '64kB'",
            database.name
        ))
        .await;
    let mut sections = "sources:\n".to_owned();
    let slot = |source: &str| format!("{}_{source}", database.name);
    for (source, streaming) in [("streamed", true), ("spilt", false)] {
        database.slot(&slot(source)).await;
        sections.push_str(&format!(
            "  {source}: {{ type: postgres, url: \"{}\", tables: [\"public.*\"], slot: {}, publication: headgate, heartbeat: 200ms, \
             streaming: {streaming}, snapshot: {{ mode: on_demand }} }}\n",
            database.url(),
            slot(source)
        ));
    }
    let folder = tempfile::tempdir().unwrap();
    let place = Place::new(folder.path(), &sections);
    let running = place.start().await;
    let client = database.another().await;
    client
        .batch_execute(
            "BEGIN; INSERT INTO t SELECT g, repeat('x', 200) FROM generate_series(1, 20000) g",
        )
        .await
        .unwrap();
    let spool = "headgate_postgres_spool_bytes";
    wait_for(&running, spool, "source=\"streamed\"", |bytes| {
        bytes > 1_000_000.0
    })
    .await;
    assert!(place.tail().is_empty(), "what is not committed has left");
    client.batch_execute("COMMIT").await.unwrap();
    database.all_confirmed().await;
    wait_for(&running, spool, "source=\"streamed\"", |bytes| bytes == 0.0).await;
    wait_for(&running, spool, "source=\"spilt\"", |bytes| bytes == 0.0).await;
    let of = |source: &str| format!("source=\"{source}\",slot=\"{}\"", slot(source));
    let (stream, spill) = (
        "headgate_postgres_server_stream_bytes",
        "headgate_postgres_server_spill_bytes",
    );
    for (source, more, none) in [("streamed", stream, spill), ("spilt", spill, stream)] {
        wait_for(&running, more, &of(source), |bytes| bytes > 1_000_000.0).await;
        wait_for(&running, none, &of(source), |bytes| bytes == 0.0).await;
        let total = "headgate_postgres_server_total_bytes";
        wait_for(&running, total, &of(source), |bytes| bytes > 1_000_000.0).await;
        let lag = "headgate_postgres_slot_lag_bytes";
        wait_for(&running, lag, &of(source), |bytes| bytes < 1_000_000.0).await;
    }
    assert!(running.stop().success());
    database.drop_all().await;
}
