//! Whatever a sender thinks of: it costs bounded time and memory, ends in the dead letters, and never comes back by itself.

use std::time::{Duration, Instant};

use crate::support::gateway::{DEADLINE, Place};

/// The memory that a gateway may have needed at its worst: some copies of a body of ten megabytes, and what it needs anyway.
const MAX_MEMORY: u64 = 400 << 20;

const SECTIONS: &str = r#"
sources:
  hooks: { type: webhook, scheme: gitlab-token, secrets: [s3cret], max_body: 32MB, event_type: poison.received.v1 }
pipeline:
  - filter: { keep: '.a != 7' }
  - transform: { vrl: '.b = .a; .seen = true' }
  - redact: { fields: [/secret, "/list/*"] }
  - validate: { schema: schema.json }
  - dedup: { key: .a, window: 1h }
  - set: { fields: { subject: "{type}" } }
  - route: { topic: "{tenantid}.{type}" }
"#;

/// What no step can hold, by name.
fn poison() -> Vec<(&'static str, Vec<u8>)> {
    let nested = |open: &str, close: &str, deep: usize| {
        format!(r#"{{"a":{}1{}}}"#, open.repeat(deep), close.repeat(deep)).into_bytes()
    };
    vec![
        ("arrays a million deep", nested("[", "]", 1_000_000)),
        ("objects a million deep", nested(r#"{"a":"#, "}", 1_000_000)),
        ("one level too deep", nested("[", "]", 128)),
        ("invalid UTF-8", b"{\"a\":\"\xff\xfe\"}".to_vec()),
        ("NaN", br#"{"a":NaN}"#.to_vec()),
        ("infinity", br#"{"a":-Infinity}"#.to_vec()),
        ("a name twice", br#"{"a":1,"a":2}"#.to_vec()),
        (
            "a name twice, spelt apart",
            br#"{"a":1,"\u0061":2}"#.to_vec(),
        ),
        ("half a surrogate pair", br#"{"a":"\uDEAD"}"#.to_vec()),
        ("cut short", br#"{"a":[1,"#.to_vec()),
        ("a number beyond all floats", br#"{"a":1e999999}"#.to_vec()),
        (
            "too many to redact",
            format!(r#"{{"a":1,"list":[1{}]}}"#, ",1".repeat(500_000)).into_bytes(),
        ),
        ("not what the schema says", br#"{"a":{"x":1}}"#.to_vec()),
    ]
}

/// Waits until the log and the dead letters have so many.
async fn wait_for(place: &Place, logged: usize, dead: usize) {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let now = (place.tail().len(), place.letters().len());
        if now == (logged, dead) {
            return;
        }
        assert!(
            Instant::now() < deadline && now.0 <= logged && now.1 <= dead,
            "{now:?} instead of {:?}: {:#?}\n{}",
            (logged, dead),
            place.letters(),
            place.log()
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn poison_ends_in_the_dead_letters_and_not_in_a_loop() {
    let folder = tempfile::tempdir().unwrap();
    let schema = r#"{"properties": {"a": {"type": ["string", "integer"]}}}"#;
    std::fs::write(folder.path().join("schema.json"), schema).unwrap();
    let place = Place::new(folder.path(), SECTIONS);
    let running = place.start().await;
    let poison = poison();
    for (_, body) in &poison {
        running.send(body.clone()).await;
    }
    // Large is not wrong.
    running
        .send(format!(r#"{{"a":"{}"}}"#, "x".repeat(10 << 20)).into_bytes())
        .await;
    running
        .send(br#"{"a":"after all of them","secret":"s","list":[1,null]}"#.to_vec())
        .await;
    wait_for(&place, 2, poison.len()).await;
    for letter in place.letters() {
        let reason = letter["reason"].as_str().unwrap_or_default();
        assert!(
            ["invalid_data", "unexact_number"].contains(&reason),
            "{letter:#}"
        );
    }
    let memory = running.peak_memory();
    assert!(memory < MAX_MEMORY, "{} MiB", memory >> 20);
    // Neither a crash nor a restart brings any of it back.
    running.kill();
    let running = place.start().await;
    running.send(br#"{"a":"the next life"}"#.to_vec()).await;
    wait_for(&place, 3, poison.len()).await;
    assert!(running.stop().success());
    let last = place.tail().pop().unwrap();
    assert_eq!(last["data"]["a"], "the next life");
    assert_eq!(place.tail()[1]["data"]["secret"], "*");
    assert_eq!(
        place.tail()[1]["data"]["list"],
        serde_json::json!(["*", null])
    );
}
