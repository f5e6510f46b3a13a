//! Servers as no shared one can be: encrypted, restarted, standing by, promoted, set up wrongly.

use headgate_postgres::Postgres;
use headgate_sdk::{Op, SourceError, conformance::World, status::State};
use serde_json::{Value, json};

use crate::{
    errors::{assert_fatal, ends},
    support::{
        DEADLINE, Database,
        cluster::{Cluster, caught_up},
        connect, data, durable, server, until, wait_for, wait_for_count,
    },
};

/// `url` with more parameters.
fn with(url: &str, parameters: &str) -> Value {
    json!(format!("{url}?{parameters}"))
}

fn encrypted(variable: &str, authority: &str) -> Cluster {
    let folder = std::path::Path::new(authority).parent().unwrap();
    let cluster = Cluster::start(variable, &["wal_level=logical"]);
    cluster.install(&folder.join("server.pem"), "server.crt");
    cluster.install(&folder.join("server.key"), "server.key");
    cluster.configure("ssl = on");
    cluster.allow("hostssl all all 127.0.0.0/8 scram-sha-256");
    cluster.stop();
    cluster.run();
    cluster
}

async fn is_encrypted_with_bound_channel(variable: &str) {
    let authority = server("POSTGRES_CA");
    let cluster = encrypted(variable, &authority);
    // The tests' own client speaks no TLS: it comes through the socket that pg_hba.conf leaves open.
    let database = Database::with(cluster.socket_url(), "").await;
    database.run("CREATE TABLE t (id int PRIMARY KEY)").await;
    let plain = database.url_at(&cluster.url());
    let world = World::new(1 << 20);

    // pg_hba.conf wants TLS.
    let error = ends(
        &world,
        database.config_with(json!({ "url": with(&plain, "sslmode=disable") })),
    )
    .await;
    assert_fatal(&error, &["no encryption"]);
    // Nobody vouches for the certificate.
    let error = ends(
        &world,
        database.config_with(json!({ "url": with(&plain, "sslmode=verify-full") })),
    )
    .await;
    assert_fatal(&error, &["certificate"]);
    // It vouches for localhost and 127.0.0.1 only.
    let other = plain.replace("@127.0.0.1", "@127.0.0.2");
    let error = ends(
        &world,
        database
            .config_with(json!({ "url": with(&other, "sslmode=verify-full"), "ca": authority })),
    )
    .await;
    assert_fatal(&error, &["certificate", "127.0.0.2"]);

    database.run("INSERT INTO t VALUES (1)").await;
    let config = database.config_with(json!({
        "url": with(&plain, "sslmode=verify-full&channel_binding=require"),
        "ca": authority,
    }));
    let run = world.start::<Postgres>(config).unwrap();
    wait_for(&world, "what exists", |events| events.len() == 1).await;
    database.run("INSERT INTO t VALUES (2)").await;
    wait_for(&world, "the change", |events| events.len() == 2).await;
    let open = database
        .rows("SELECT s.ssl, a.backend_type FROM pg_stat_ssl s JOIN pg_stat_activity a USING (pid) WHERE a.application_name LIKE 'headgate%'")
        .await;
    assert!(open.len() >= 2, "{open:?}");
    assert!(
        open.iter()
            .any(|row| row[1].as_deref() == Some("walsender")),
        "{open:?}"
    );
    for session in &open {
        assert_eq!(session[0].as_deref(), Some("t"), "{open:?}");
    }
    run.stop(DEADLINE).await.unwrap();
    // `verify-ca`, and `require` without an authority, go on as well.
    for parameters in ["sslmode=verify-ca", "sslmode=require"] {
        let authority = parameters.contains("ca").then(|| authority.clone());
        let config =
            database.config_with(json!({ "url": with(&other, parameters), "ca": authority }));
        let run = world.start::<Postgres>(config).unwrap();
        until("the stream", async || {
            (run.status.get() == State::Ready).then_some(())
        })
        .await;
        run.stop(DEADLINE).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_and_channel_binding_hold_for_both_connections() {
    is_encrypted_with_bound_channel("POSTGRES_BIN").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_and_channel_binding_hold_for_both_connections_on_18() {
    is_encrypted_with_bound_channel("POSTGRES18_BIN").await;
}

/// The server computes the hash that SCRAM binds to as well: a wrong one is refused.
#[tokio::test(flavor = "multi_thread")]
async fn the_channel_is_bound_by_the_hash_of_the_certificates_own_signature() {
    let cluster = encrypted("POSTGRES_BIN", &server("POSTGRES_CA"));
    let kinds: [(&[&str], bool); 5] = [
        (
            &[
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:prime256v1",
                "-sha256",
            ],
            true,
        ),
        (
            &[
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:secp384r1",
                "-sha384",
            ],
            true,
        ),
        (&["-newkey", "rsa:2048", "-sha512"], true),
        (
            &[
                "-newkey",
                "rsa:2048",
                "-sha384",
                "-sigopt",
                "rsa_padding_mode:pss",
            ],
            true,
        ),
        // A signature without a hash: there is nothing to bind to.
        (&["-newkey", "ed25519"], false),
    ];
    for (arguments, bound) in kinds {
        certify(&cluster, arguments);
        let database = Database::with(cluster.socket_url(), "").await;
        database.run("CREATE TABLE t (id int PRIMARY KEY)").await;
        let world = World::new(1 << 20);
        let config = |parameters: &str| {
            let url = with(&database.url_at(&cluster.url()), parameters);
            database.config_with(json!({ "url": url }))
        };
        let insisting = config("sslmode=require&channel_binding=require");
        let run = if bound {
            world.start::<Postgres>(insisting).unwrap()
        } else {
            assert_fatal(&ends(&world, insisting).await, &["channel binding"]);
            world.start::<Postgres>(config("sslmode=require")).unwrap()
        };
        until(&format!("the stream with {arguments:?}"), async || {
            (run.status.get() == State::Ready).then_some(())
        })
        .await;
        run.stop(DEADLINE).await.unwrap();
    }
}

/// Gives the server a new certificate that nobody vouches for.
fn certify(cluster: &Cluster, arguments: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let (key, certificate) = (folder.path().join("key"), folder.path().join("crt"));
    let made = std::process::Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=localhost",
        ])
        .args(arguments)
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&made.stderr);
    assert!(made.status.success(), "openssl {arguments:?}: {said}");
    cluster.install(&certificate, "server.crt");
    cluster.install(&key, "server.key");
    cluster.stop();
    cluster.run();
}

#[tokio::test(flavor = "multi_thread")]
async fn channel_binding_that_is_required_and_impossible_is_refused() {
    let database = Database::new().await;
    let world = World::new(1 << 20);
    let url = with(&database.url(), "sslmode=disable&channel_binding=require");
    let error = ends(&world, database.config_with(json!({ "url": url }))).await;
    assert_fatal(&error, &["channel binding"]);
    database.drop_all().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_logical_decoding_is_named_and_a_restart_is_survived() {
    let cluster = Cluster::start("POSTGRES_BIN", &[]);
    let database = Database::with(cluster.url(), "").await;
    database.run("CREATE TABLE t (id int PRIMARY KEY)").await;
    let world = World::new(1 << 20);
    let config = database.config();
    let error = ends(&world, config.clone()).await;
    assert_fatal(
        &error,
        &[
            "wal_level is replica",
            "ALTER SYSTEM SET wal_level = logical",
        ],
    );
    // What it says mends it.
    database.run("ALTER SYSTEM SET wal_level = logical").await;
    cluster.stop();
    cluster.run();
    let client = connect(&database.url()).await;
    client
        .batch_execute("INSERT INTO t VALUES (1)")
        .await
        .unwrap();
    for (round, crash) in [(2, false), (3, true)] {
        let run = world.start::<Postgres>(config.clone()).unwrap();
        wait_for(&world, "all rows", |events| events.len() == round - 1).await;
        if crash {
            cluster.crash();
        } else {
            cluster.stop();
        }
        let error = tokio::time::timeout(DEADLINE, run.ended())
            .await
            .unwrap()
            .unwrap_err();
        assert!(matches!(error, SourceError::Retriable { .. }), "{error}");
        // While it is away, it is away.
        let error = ends(&world, config.clone()).await;
        assert!(matches!(error, SourceError::Retriable { .. }), "{error}");
        cluster.run();
        let client = connect(&database.url()).await;
        let sql = format!("INSERT INTO t VALUES ({round})");
        client.batch_execute(&sql).await.unwrap();
    }
    let run = world.start::<Postgres>(config).unwrap();
    wait_for(&world, "all rows", |events| events.len() == 3).await;
    run.stop(DEADLINE).await.unwrap();
    let ids: Vec<Value> = durable(&world)
        .iter()
        .map(|e| data(e)["after"]["id"].clone())
        .collect();
    assert_eq!(json!(ids), json!([1, 2, 3]));
}

/// A server that shuts down waits until its log is confirmed. It is not kept waiting for a sink that is blocked.
#[tokio::test(flavor = "multi_thread")]
async fn a_blocked_sink_does_not_keep_a_server_from_shutting_down() {
    let cluster = Cluster::start("POSTGRES18_BIN", &["wal_level=logical"]);
    let database = Database::with(cluster.url(), "").await;
    database
        .run("CREATE TABLE t (id int PRIMARY KEY, x text)")
        .await;
    database.prepare().await;
    let mut config = database.config();
    config["snapshot"] = json!({ "mode": "on_demand" });
    let world = World::new(1 << 20);
    world.lanes.hold();
    let run = world.start::<Postgres>(config.clone()).unwrap();
    database
        .run("INSERT INTO t SELECT g, repeat('x', 500) FROM generate_series(1, 10000) g")
        .await;
    let blocked = world
        .lanes
        .wait_for(|sent| sent.values().any(|s| s.pending.len() > 100));
    tokio::time::timeout(DEADLINE, blocked).await.unwrap();
    // `pg_ctl` gives up after a minute.
    cluster.stop();
    let error = tokio::time::timeout(DEADLINE, run.ended())
        .await
        .unwrap()
        .unwrap_err();
    assert!(matches!(error, SourceError::Retriable { .. }), "{error}");
    world.lanes.crash();
    world.lanes.release();
    cluster.run();
    let run = world.start::<Postgres>(config).unwrap();
    wait_for_count(&world, "all rows", 10_000).await;
    run.stop(DEADLINE).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_whose_log_was_removed_is_made_again_with_a_snapshot() {
    let cluster = Cluster::start(
        "POSTGRES18_BIN",
        &[
            "wal_level=logical",
            "max_slot_wal_keep_size=1MB",
            "max_wal_size=32MB",
        ],
    );
    let database = Database::with(cluster.url(), "").await;
    database
        .run("CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE noise (x text)")
        .await;
    let world = World::new(1 << 20);
    let config = database.config_with(json!({ "tables": ["public.t"] }));
    let run = world.start::<Postgres>(config.clone()).unwrap();
    database.run("INSERT INTO t VALUES (1)").await;
    wait_for(&world, "the row", |events| !events.is_empty()).await;
    run.stop(DEADLINE).await.unwrap();
    database.run("INSERT INTO t VALUES (2)").await;
    until("the slot's loss", async || {
        database
            .run("INSERT INTO noise SELECT repeat('x', 1000) FROM generate_series(1, 20000); SELECT pg_switch_wal(); CHECKPOINT")
            .await;
        let status = database.text("SELECT wal_status FROM pg_replication_slots").await;
        (status == "lost").then_some(())
    })
    .await;
    let error = ends(&world, config).await;
    assert_fatal(
        &error,
        &[
            "has lost its log",
            "max_slot_wal_keep_size",
            "on_lost_slot: snapshot",
        ],
    );
    let config =
        database.config_with(json!({ "tables": ["public.t"], "on_lost_slot": "snapshot" }));
    let run = world.start::<Postgres>(config).unwrap();
    wait_for(&world, "the lost row", |events| {
        events
            .iter()
            .any(|e| e.op == Some(Op::Read) && e.partitionkey.as_deref() == Some("2"))
    })
    .await;
    run.stop(DEADLINE).await.unwrap();
}

/// Since 18 a slot can be lost for being read by nobody, too.
#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_was_idle_for_too_long_is_named() {
    let cluster = Cluster::start(
        "POSTGRES18_BIN",
        &["wal_level=logical", "idle_replication_slot_timeout=1s"],
    );
    let database = Database::with(cluster.url(), "").await;
    database.run("CREATE TABLE t (id int PRIMARY KEY)").await;
    let world = World::new(1 << 20);
    let run = world.start::<Postgres>(database.config()).unwrap();
    database.run("INSERT INTO t VALUES (1)").await;
    wait_for(&world, "the row", |events| !events.is_empty()).await;
    run.stop(DEADLINE).await.unwrap();
    until("the slot's loss", async || {
        database.run("CHECKPOINT").await;
        let status = database
            .text("SELECT wal_status FROM pg_replication_slots")
            .await;
        (status == "lost").then_some(())
    })
    .await;
    let error = ends(&world, database.config()).await;
    assert_fatal(
        &error,
        &[
            "has lost its log",
            "idle_replication_slot_timeout",
            "on_lost_slot: snapshot",
        ],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_have_no_room_left_are_named_and_waited_for() {
    let cluster = Cluster::start(
        "POSTGRES_BIN",
        &[
            "wal_level=logical",
            "max_replication_slots=1",
            "max_wal_senders=1",
        ],
    );
    let database = Database::with(cluster.url(), "").await;
    database.run("CREATE TABLE t (id int PRIMARY KEY)").await;
    let (first, second) = (World::new(1 << 20), World::new(1 << 20));
    database
        .run("SELECT pg_create_physical_replication_slot('another')")
        .await;
    let error = ends(&first, database.config()).await;
    assert!(matches!(error, SourceError::Retriable { .. }), "{error}");
    for words in ["all replication slots are in use", "max_replication_slots"] {
        assert!(error.to_string().contains(words), "{error}");
    }
    database
        .run("SELECT pg_drop_replication_slot('another')")
        .await;
    let run = first.start::<Postgres>(database.config()).unwrap();
    until("the stream", async || {
        (run.status.get() == State::Ready).then_some(())
    })
    .await;
    // The only sender is taken.
    let other = database.config_with(json!({ "slot": "another" }));
    let error = ends(&second, other).await;
    assert!(matches!(error, SourceError::Retriable { .. }), "{error}");
    assert!(
        error
            .to_string()
            .contains("ALTER SYSTEM SET max_wal_senders"),
        "{error}"
    );
    run.stop(DEADLINE).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_is_decoded_and_goes_on_when_it_is_promoted() {
    let primary = Cluster::start("POSTGRES18_BIN", &["wal_level=logical"]);
    let database = Database::with(primary.url(), "").await;
    database
        .run("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 100)")
        .await;
    database
        .run("CREATE PUBLICATION headgate FOR TABLE t")
        .await;
    let name = database.name.clone();
    let connection = primary.connection();
    let standby = primary.standby(&["wal_level=logical", &connection, "hot_standby_feedback=on"]);
    let database = Database::existing(primary.url(), &name).await;
    let world = World::new(1 << 20);
    // Without a primary: no snapshot, and it says so.
    let mut config = database.config();
    config["url"] = json!(database.url_at(&standby.url()));
    let run = world.start::<Postgres>(config.clone()).unwrap();
    // The slot of a standby waits for a snapshot of the primary's running transactions.
    until("the warning", async || {
        database.run("SELECT pg_log_standby_snapshot()").await;
        let warnings = run.status.warnings();
        let found = warnings.get("snapshot/public.t").cloned();
        found.filter(|warning| warning.contains("primary_url"))
    })
    .await;
    database.run("INSERT INTO t VALUES (101)").await;
    wait_for(&world, "the change", |events| events.len() == 1).await;
    run.stop(DEADLINE).await.unwrap();
    // With one: heartbeats and watermarks go there.
    config["primary_url"] = json!(database.url());
    let run = world.start::<Postgres>(config.clone()).unwrap();
    wait_for(&world, "what exists", |events| {
        events.iter().filter(|e| e.op == Some(Op::Read)).count() >= 100
    })
    .await;
    let warnings = run.status.warnings();
    assert!(!warnings.contains_key("heartbeat"), "{warnings:?}");
    database.run("INSERT INTO t VALUES (102)").await;
    wait_for(&world, "another change", |events| {
        events
            .iter()
            .any(|e| e.partitionkey.as_deref() == Some("102"))
    })
    .await;
    run.stop(DEADLINE).await.unwrap();
    // The primary is gone; the standby takes over on a new timeline, with the slot that it has.
    let before = durable(&world).len();
    caught_up(&database.client, &connect(&standby.url()).await).await;
    primary.stop();
    standby.promote();
    let client = connect(&database.url_at(&standby.url())).await;
    client
        .batch_execute("INSERT INTO t VALUES (103)")
        .await
        .unwrap();
    config["primary_url"] = Value::Null;
    let run = world.start::<Postgres>(config).unwrap();
    wait_for(&world, "a change on the new timeline", |events| {
        events.len() > before
    })
    .await;
    let last = durable(&world).pop().unwrap();
    assert_eq!(data(&last)["after"]["id"], 103);
    assert!(last.id.starts_with("2/"), "{}", last.id);
    run.stop(DEADLINE).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failover_slot_goes_on_and_a_standby_that_was_behind_is_refused() {
    let primary = Cluster::start("POSTGRES18_BIN", &["wal_level=logical"]);
    let database = Database::with(primary.url(), "").await;
    database.run("CREATE TABLE t (id int PRIMARY KEY)").await;
    database
        .run("SELECT pg_create_physical_replication_slot('standby', true)")
        .await;
    let name = database.name.clone();
    let connection = primary.connection();
    let settings = ["wal_level=logical", &connection, "hot_standby_feedback=on"];
    let behind = primary.standby(&settings);
    behind.stop();
    let synchronised = [
        &settings[..],
        &["primary_slot_name=standby", "sync_replication_slots=on"],
    ]
    .concat();
    let standby = primary.standby(&synchronised);
    let database = Database::existing(primary.url(), &name).await;
    let world = World::new(1 << 20);
    let mut config = database.config_with(json!({ "failover": true }));
    let run = world.start::<Postgres>(config.clone()).unwrap();
    database.run("INSERT INTO t VALUES (1)").await;
    wait_for(&world, "the row", |events| !events.is_empty()).await;
    let slots = database
        .text("SELECT failover FROM pg_replication_slots WHERE slot_type = 'logical'")
        .await;
    assert_eq!(slots, "t");
    let client = connect(&database.url_at(&standby.url())).await;
    until("the slot's copy", async || {
        database.run("SELECT pg_logical_emit_message(false, 'x', 'y')").await;
        let sql = "SELECT FROM pg_replication_slots WHERE synced AND NOT temporary AND invalidation_reason IS NULL";
        (!crate::support::rows(&client, sql).await.is_empty()).then_some(())
    })
    .await;
    run.stop(DEADLINE).await.unwrap();
    database.run("INSERT INTO t VALUES (2)").await;
    caught_up(&database.client, &client).await;
    primary.stop();
    standby.promote();
    client
        .batch_execute("INSERT INTO t VALUES (3)")
        .await
        .unwrap();
    // A standby that never saw what is stored.
    behind.run();
    behind.promote();
    let mut wrong = config.clone();
    wrong["url"] = json!(database.url_at(&behind.url()));
    let error = ends(&world, wrong).await;
    assert_fatal(
        &error,
        &[
            "is on timeline 2",
            "of timeline 1",
            "a new snapshot after `headgate postgres drop`",
        ],
    );
    // The one that was in step.
    config["url"] = json!(database.url_at(&standby.url()));
    let run = world.start::<Postgres>(config).unwrap();
    wait_for(&world, "all rows", |events| {
        let ids: Vec<Value> = events
            .iter()
            .map(|e| data(e)["after"]["id"].clone())
            .collect();
        [1, 2, 3].iter().all(|id| ids.contains(&json!(id)))
    })
    .await;
    run.stop(DEADLINE).await.unwrap();
}
