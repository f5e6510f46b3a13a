//! What `redact` hides stays in `data_dir`, whichever step an event fails at.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::support::gateway::{DEADLINE, Place, Running};

const CARD: &str = "4111111111111111";
const MASKED: &str = "************1111";

/// With a step in front of `redact` and one behind it, at which events fail.
fn sections(total: &str) -> String {
    format!(
        r#"
sources:
  hooks: {{ type: webhook, scheme: gitlab-token, secrets: [s3cret], event_type: order.placed.v1 }}
pipeline:
  - transform: {{ vrl: '{total}' }}
  - redact: {{ fields: [/card], keep_last: 4 }}
  - validate: {{ schema: schema.json }}
"#
    )
}

async fn send(running: &Running, id: u32, total: &str) {
    let body = format!(r#"{{"id":{id},"card":"{CARD}","total":{total}}}"#);
    running.send(body).await;
}

/// Letters by the number of their event.
fn letters(place: &Place) -> Vec<Value> {
    let letter = |letter: Value| {
        assert!(!letter.to_string().contains(CARD), "{letter}");
        let shown = place.command(&["dead-letters", "show", &letter["position"].to_string()]);
        serde_json::from_slice(&shown.stdout).unwrap()
    };
    place.letters().into_iter().map(letter).collect()
}

/// Waits until the log and the dead letters have so many.
async fn wait_for(place: &Place, logged: usize, dead: usize) -> (Vec<Value>, Vec<Value>) {
    let started = Instant::now();
    loop {
        let found = (place.tail(), letters(place));
        if (found.0.len(), found.1.len()) == (logged, dead) {
            return found;
        }
        assert!(started.elapsed() < DEADLINE, "{found:#?}\n{}", place.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The folders of `data` in which the card's number can be read.
fn readable_in(data: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(data).unwrap() {
        let path = entry.unwrap().path();
        let mut open = vec![path.clone()];
        while let Some(inner) = open.pop() {
            if inner.is_dir() {
                open.extend(fs::read_dir(&inner).unwrap().map(|e| e.unwrap().path()));
            } else if fs::read(&inner)
                .unwrap()
                .windows(CARD.len())
                .any(|window| window == CARD.as_bytes())
            {
                found.push(path.file_name().unwrap().to_string_lossy().into_owned());
                break;
            }
        }
    }
    found.sort();
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_fails_before_redact_leaves_data_dir_only_redacted() {
    let folder = tempfile::tempdir().unwrap();
    let schema = r#"{"properties": {"total": {"minimum": 0}}}"#;
    fs::write(folder.path().join("schema.json"), schema).unwrap();
    let place = Place::new(folder.path(), &sections(".total = to_float!(.total)"));
    let running = place.start().await;
    send(&running, 1, "\"much\"").await;
    send(&running, 2, "-1").await;
    send(&running, 3, "7").await;
    let (logged, dead) = wait_for(&place, 1, 2).await;
    assert_eq!(logged[0]["data"]["card"], MASKED);

    // What failed before is there as that step saw it, so that it can be tried again; what failed behind has nothing to hide.
    let letter = |id: u32| {
        dead.iter()
            .find(|letter| letter["event"]["data"]["id"] == id)
    };
    let (before, behind) = (letter(1).unwrap(), letter(2).unwrap());
    assert_eq!(
        (&before["step"], &before["event"]["data"]["card"]),
        (&Value::from("transform"), &Value::from(CARD))
    );
    assert_eq!(
        (&behind["step"], &behind["event"]["data"]["card"]),
        (&Value::from("validate"), &Value::from(MASKED))
    );
    // Nothing that others look at tells it.
    for path in ["/metrics", "/readyz", "/api/v1/dead-letters"] {
        let page = running.page(path).await;
        assert!(!page.contains(CARD), "{path}: {page}");
    }
    assert!(running.stop().success());
    assert!(!place.log().contains(CARD), "{}", place.log());
    let readable = readable_in(&folder.path().join("data"));
    assert_eq!(readable, ["dead-letters", "journal"], "and not in the log");

    // Tried again, it goes the whole way of the present pipeline, and `redact` with it.
    place.configure(&sections(".total = to_float(.total) ?? 0.0"));
    let running = place.start().await;
    let retried = place.command(&["dead-letters", "retry", "--step", "transform"]);
    assert!(retried.status.success(), "{retried:?}");
    let (logged, dead) = wait_for(&place, 2, 1).await;
    assert_eq!(
        logged[1]["data"],
        serde_json::json!({"id": 1, "card": MASKED, "total": 0.0})
    );
    assert_eq!(dead[0]["event"]["data"]["id"], 2);
    assert!(running.stop().success());
    assert!(!place.log().contains(CARD), "{}", place.log());
}
