//! `headgate sources snapshot`, as an operator asks a running gateway for it, and `pause` while changes come.

use serde_json::Value;

use super::database::Database;
use crate::support::gateway::{DEADLINE, Place};

/// Exit code, standard output and standard error of `headgate sources …`.
fn run(place: &Place, words: &[&str]) -> (Option<i32>, String, String) {
    let output = place.command(&[&["sources"], words].concat());
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

/// The ids of rows in the log that came as `op`, in order.
fn ids(events: &[Value], op: &str) -> Vec<u64> {
    let of = events.iter().filter(|event| event["op"] == op);
    of.map(|event| event["data"]["after"]["id"].as_u64().unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_source_reads_what_it_is_asked_for_and_nothing_else() {
    let database = Database::with_numbers().await;
    database
        .run("INSERT INTO numbers SELECT generate_series(1, 50); CREATE TABLE other (id bigint PRIMARY KEY); INSERT INTO other VALUES (1000)")
        .await;
    let folder = tempfile::tempdir().unwrap();
    let sections = format!("sources:\n  rows: {}\n", database.source());
    let place = Place::new(folder.path(), &sections);
    let running = place.start().await;
    database.all_confirmed().await;
    let before = place.tail();
    assert_eq!(ids(&before, "r"), Vec::<u64>::new());

    let asked = ["snapshot", "rows", "--table", "public.numbers"];
    let (code, said, error) = run(&place, &[&asked[..], &["--where", "id <= 20"]].concat());
    assert_eq!(code, Some(0), "{said}{error}");
    let answer: Value = serde_json::from_str(&said).unwrap();
    let name = answer["snapshot"].as_str().unwrap().to_owned();
    place
        .until("read", async || ids(&place.tail(), "r").len() >= 20)
        .await;
    // Changes go on, and nothing else is read.
    database.run("INSERT INTO numbers VALUES (51)").await;
    database.all_confirmed().await;
    let events = place.tail();
    assert_eq!(ids(&events, "r"), (1..=20).collect::<Vec<_>>());
    assert_eq!(ids(&events, "c").last(), Some(&51));
    for event in events.iter().filter(|event| event["op"] == "r") {
        let id = event["id"].as_str().unwrap();
        assert!(
            id.starts_with(&format!("snap/{name}/public.numbers/")),
            "{id}"
        );
    }
    for (wrong, word) in [
        (
            &["snapshot", "rows", "--table", "public.nothing"][..],
            "`public.nothing` is not in publication",
        ),
        (&[&asked[..], &["--where", "idd < 5"]].concat()[..], "idd"),
        (&["snapshot", "nobody"][..], "there are `rows`"),
    ] {
        let (code, said, error) = run(&place, wrong);
        assert!(code.is_some_and(|code| code != 0), "{wrong:?}: {said}");
        assert!(error.contains(word), "{wrong:?}: {error}");
    }

    // What comes while it is paused comes after.
    assert_eq!(run(&place, &["pause", "rows"]).0, Some(0));
    database.run("INSERT INTO numbers VALUES (52)").await;
    let state = running.readiness().await.unwrap();
    assert_eq!(state["sources"][0]["state"], "paused", "{state:#}");
    assert_eq!(run(&place, &["resume", "rows"]).0, Some(0));
    let resumed = tokio::time::timeout(DEADLINE, database.all_confirmed());
    resumed.await.expect("it goes on");
    assert_eq!(ids(&place.tail(), "c").last(), Some(&52));
    assert!(running.stop().success());
    database.drop_all().await;
}
