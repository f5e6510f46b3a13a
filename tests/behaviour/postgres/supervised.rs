//! What an operator sees of a source that cannot work, and how often it tries.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::Value;

use super::database::Database;
use crate::support::gateway::{DEADLINE, Place, Running};

/// The source's state, once it is `wanted`.
async fn source_is(running: &Running, wanted: &str) -> Value {
    let begun = Instant::now();
    loop {
        let state = running.readiness().await.unwrap_or_default();
        let source = state["sources"][0].clone();
        if source["state"] == wanted {
            return source;
        }
        assert!(begun.elapsed() < DEADLINE, "it is not {wanted}: {state}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A server that hangs up is asked less and less often.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_hangs_up_is_tried_again_less_and_less_often() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let attempts = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&attempts);
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::Relaxed);
            drop(connection);
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let place = Place::new(
        folder.path(),
        &format!(
            "sources:\n  crm: {{ type: postgres, url: \"postgres://u:p@{address}/d?sslmode=disable\", tables: [\"public.*\"] }}\n"
        ),
    );
    let began = Instant::now();
    let running = place.launch(None);
    while attempts.load(Ordering::Relaxed) < 4 {
        assert!(began.elapsed() < DEADLINE, "{}", place.log());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // The supervisor's waits: half a second, one, two, each shortened to no less than half.
    let elapsed = began.elapsed();
    assert!(
        elapsed >= Duration::from_millis(1750),
        "four attempts within {elapsed:?}"
    );
    source_is(&running, "restarting").await;
    running.kill();
}

/// An error that only a person mends is not tried again, and stands where the operator looks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_only_a_person_mends_is_said_once_with_what_mends_it() {
    let database = Database::new().await;
    database.run("CREATE TABLE t (id int PRIMARY KEY)").await;
    let folder = tempfile::tempdir().unwrap();
    let url = database.url().replace("headgate@", "wrong@");
    let section = |url: &str| {
        format!(
            "sources:\n  crm: {{ type: postgres, url: \"{url}\", tables: [\"public.*\"], slot: {}, setup: false }}\n",
            database.name
        )
    };
    let place = Place::new(folder.path(), &section(&url));
    let running = place.launch(None);
    let source = source_is(&running, "failed").await;
    let text = source.to_string();
    for words in ["password authentication failed", "the password in `url`"] {
        assert!(text.contains(words), "{text} does not say {words:?}");
    }
    assert!(!text.contains("wrong@"), "the password is shown: {text}");
    running.kill();
    place.configure(&section(&database.url()));
    let running = place.launch(None);
    let source = source_is(&running, "failed").await;
    let text = source.to_string();
    for words in [
        "publication headgate_crm does not exist",
        "headgate postgres setup",
        "CREATE PUBLICATION",
    ] {
        assert!(text.contains(words), "{text} does not say {words:?}");
    }
    running.kill();
    let tries = place
        .log()
        .matches("password authentication failed")
        .count();
    assert_eq!(tries, 1, "{}", place.log());
    database.drop_all().await;
}
