//! Every step that looks at one event after another, from its configuration to what comes out.

use std::path::Path;
use std::sync::Arc;
use std::task::Poll;

use headgate_sdk::{Data, Envelope, ExtensionValue, LaneId, Replay, Timestamp};
use serde_json::{Value, json};
use tower::{Layer, Service};

use super::{Chain, EventStep, StepLayer};
use crate::pipeline::{LaneContext, PipelineBatch, Step, max_age};

fn event(event_type: &str, data: &str) -> Envelope {
    let time = "2026-01-31T12:00:00Z".parse::<Timestamp>().unwrap();
    Envelope::new(
        "e1",
        "urn:s",
        event_type,
        time,
        Data::opaque(data.to_owned()),
    )
}

fn batch(events: Vec<Envelope>) -> PipelineBatch {
    let lane = LaneContext {
        id: LaneId::from_stored("lane"),
        source: "s".into(),
        tenant: "default".into(),
        replay: Replay::FromSource,
        shard: 0,
    };
    PipelineBatch::new(Arc::new(lane), events)
}

fn step(config: Value) -> Step {
    serde_json::from_value(config).unwrap_or_else(|error| panic!("{error}"))
}

fn refused(config: Value) -> String {
    serde_json::from_value::<Step>(config)
        .unwrap_err()
        .to_string()
}

/// Applies the step; what goes on as its data, what fails as `step reason: message`.
fn apply(config: Value, events: Vec<Envelope>) -> (Vec<Envelope>, Vec<String>) {
    let step = step(config);
    let mut batch = batch(events);
    Chain::from(step.event_step(&step.name(0).into()).unwrap()).apply(&mut batch);
    let letters = batch
        .rejected
        .iter()
        .map(|letter| format!("{} {}: {}", letter.step, letter.reason, letter.message));
    (batch.events, letters.collect())
}

fn one(config: Value, data: &str) -> Envelope {
    let (mut events, letters) = apply(config, vec![event("a.v1", data)]);
    assert_eq!(letters, Vec::<String>::new());
    events.remove(0)
}

fn text(event: &Envelope) -> &str {
    std::str::from_utf8(event.data.bytes().unwrap()).unwrap()
}

#[test]
fn set_edits_the_text_and_sets_attributes() {
    let fields = json!({"/currency": "EUR", "/n/m": [1, null], "/text": "{type} {/id}", "subject": "order/{/id}", "xflag": true});
    let changed = one(
        json!({"set": {"fields": fields}}),
        r#"{ "id": 7, "total": 1.50, "currency": "USD" }"#,
    );
    assert_eq!(
        text(&changed),
        r#"{ "id": 7, "total": 1.50, "currency": "EUR","n":{"m":[1,null]},"text":"a.v1 7" }"#
    );
    assert_eq!(changed.subject.as_deref(), Some("order/7"));
    assert_eq!(
        changed.extensions.get("xflag"),
        Some(&ExtensionValue::Boolean(true))
    );
    assert!(changed.data.is_known_json());
}

#[test]
fn set_is_all_or_nothing() {
    let config = json!({"set": {"fields": {"/a": 1, "subject": "{/missing}"}}});
    let (events, letters) = apply(config.clone(), vec![event("a.v1", "{}")]);
    assert_eq!(events.len(), 0);
    assert_eq!(
        letters,
        ["set missing_attribute: `{/missing}` needs `/missing`, which this event lacks"]
    );
    let mut config = config;
    config["set"]["on_error"] = json!("pass");
    let (events, letters) = apply(config, vec![event("a.v1", "{}")]);
    assert_eq!((text(&events[0]), letters.len()), ("{}", 0));
}

#[test]
fn attributes_that_say_who_are_not_set() {
    for (name, told) in [
        ("id", "cannot be changed"),
        ("tenantid", "cannot be changed"),
        ("My_Name", "neither a JSON pointer"),
        ("/a~2", "`~` in a JSON pointer"),
    ] {
        assert!(
            refused(json!({"set": {"fields": {name: "x"}}})).contains(told),
            "{name}"
        );
    }
}

#[test]
fn remove_rename_and_keep_leave_the_rest_byte_identical() {
    let data = r#"{ "a" : 1.50, "b": { "c":2 , "d":3 }, "e": [ ] }"#;
    assert_eq!(
        text(&one(
            json!({"remove": {"fields": ["/b/c", "/zzz", "subject"]}}),
            data
        )),
        r#"{ "a" : 1.50, "b": { "d":3 }, "e": [ ] }"#
    );
    assert_eq!(
        text(&one(
            json!({"rename": {"fields": {"/a": "/A", "/b/d": "/d"}}}),
            data
        )),
        r#"{ "A" : 1.50, "b": { "c":2 }, "e": [ ],"d":3 }"#
    );
    assert_eq!(
        text(&one(
            json!({"keep_fields": {"fields": ["/a", "/b/d"]}}),
            data
        )),
        r#"{"a":1.50,"b":{"d":3}}"#
    );
    let untouched = one(json!({"remove": {"fields": ["/zzz"]}}), data);
    assert_eq!(text(&untouched), data);
}

#[test]
fn a_step_is_for_its_types_and_what_it_cannot_read_fails_alone() {
    let events = vec![
        event("a.v1", "{\"x\":1}"),
        event("b.v1", "no json"),
        event("a.v1", "no json"),
        event("a.v2", "{\"x\":1}"),
    ];
    let (events, letters) = apply(
        json!({"remove": {"types": ["a.*"], "fields": ["/x"]}}),
        events,
    );
    let texts: Vec<&str> = events.iter().map(text).collect();
    assert_eq!(texts, ["{}", "no json", "{}"]);
    assert_eq!(
        letters,
        ["remove invalid_data: the data is not valid JSON: this step needs JSON data"]
    );
}

#[test]
fn filter_keeps_by_attributes_and_by_condition() {
    let events = || {
        vec![
            event("a.v1", r#"{"total":1}"#),
            event("a.v1", r#"{"total":100}"#),
            event("b.v1", r#"{"total":100}"#),
            event("a.v1", "{"),
        ]
    };
    let (kept, letters) = apply(json!({"filter": {"equals": {"type": ["a.v1"]}}}), events());
    assert_eq!((kept.len(), letters.len()), (3, 0));
    let (kept, letters) = apply(
        json!({"filter": {"keep": "(to_int(.total) ?? 0) > 50"}}),
        events(),
    );
    assert_eq!(kept.len(), 2);
    assert_eq!(
        letters,
        ["filter invalid_data: the data is not valid JSON at byte 1"]
    );
    let (kept, letters) = apply(
        json!({"filter": {"keep": "(to_int(.total) ?? 0) > 50", "on_error": "drop"}}),
        events(),
    );
    assert_eq!((kept.len(), letters.len()), (2, 0));
}

#[test]
fn transform_fans_out_in_order() {
    let events = vec![
        event("a.v1", r#"{"rows":[1,2]}"#),
        event("b.v1", "{}"),
        event("a.v1", r#"{"rows":[]}"#),
        event("a.v1", r#"{"rows":"x"}"#),
    ];
    let (events, letters) = apply(
        json!({"transform": {"types": ["a.v1"], "vrl": ". = array!(.rows)", "name": "split"}}),
        events,
    );
    let ids: Vec<&str> = events.iter().map(|event| event.id.as_str()).collect();
    assert_eq!(ids, ["e1/split/0", "e1/split/1", "e1"]);
    assert_eq!(letters.len(), 1);
    assert!(
        letters[0].starts_with("split script_failed:"),
        "{}",
        letters[0]
    );
}

#[test]
fn a_program_that_does_not_compile_is_refused() {
    let told = refused(json!({"transform": {"vrl": ".a = upcas(.b)"}}));
    assert!(told.contains("did you mean \"upcase\"?"), "{told}");
}

#[test]
fn max_age_sets_expiry_and_flags_or_rejects() {
    let config =
        |on_stale: &str| match step(json!({"max_age": {"age": "1h", "on_stale": on_stale}})) {
            Step::MaxAge(config) => config,
            other => panic!("{other:?}"),
        };
    let run = |on_stale, now: Timestamp, event: Envelope| {
        let mut batch = batch(vec![event]);
        let step = max_age::MaxAgeStep::new(&config(on_stale), "max_age");
        Chain::from(Arc::new(step) as Arc<dyn EventStep>).apply_at(now, &mut batch);
        batch
    };
    let fresh: Timestamp = "2026-01-31T12:30:00Z".parse().unwrap();
    let late: Timestamp = "2026-01-31T13:30:00Z".parse().unwrap();
    let passed = run("dead_letter", fresh, event("a.v1", "{}"));
    assert_eq!(
        passed.events[0].expirytime,
        Some("2026-01-31T13:00:00Z".parse().unwrap())
    );
    assert_eq!(passed.events[0].extensions.get(max_age::FLAG), None);
    let mut earlier = event("a.v1", "{}");
    earlier.expirytime = Some("2026-01-31T12:10:00Z".parse().unwrap());
    let flagged = run("flag", fresh, earlier);
    assert_eq!(
        flagged.events[0].expirytime,
        Some("2026-01-31T12:10:00Z".parse().unwrap())
    );
    assert_eq!(
        flagged.events[0].extensions.get(max_age::FLAG),
        Some(&ExtensionValue::Boolean(true))
    );
    let rejected = run("dead_letter", late, event("a.v1", "{}"));
    assert_eq!(
        (rejected.events.len(), rejected.rejected[0].reason.as_str()),
        (0, "stale")
    );
    assert_eq!(run("drop", late, event("a.v1", "{}")).events.len(), 0);
}

#[test]
fn stale_events_are_counted_whatever_becomes_of_them() {
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    let figures = recorder.handle();
    let mut fresh = event("a.v1", "{}");
    fresh.time = Timestamp::MAX;
    metrics::with_local_recorder(&recorder, || {
        for on_stale in ["flag", "dead_letter", "drop"] {
            let config = json!({"max_age": {"age": "1s", "on_stale": on_stale, "name": on_stale}});
            apply(
                config,
                vec![event("a.v1", "{}"), fresh.clone(), event("b.v1", "{}")],
            );
        }
    });
    let figures = figures.render();
    for on_stale in ["flag", "dead_letter", "drop"] {
        for event_type in ["a.v1", "b.v1"] {
            let counted = format!(
                "headgate_pipeline_stale_events_total{{step=\"{on_stale}\",type=\"{event_type}\"}} 1"
            );
            assert!(figures.lines().any(|line| line == counted), "{figures}");
        }
    }
}

#[test]
fn a_chain_that_comes_back_too_often_is_a_loop() {
    let events = [None, Some(3), Some(4)].map(|hop| {
        let mut event = event("a.v1", "{}");
        event.hop = hop;
        event
    });
    let (kept, letters) = apply(json!({"max_hops": {"hops": 3}}), events.to_vec());
    assert_eq!(kept.len(), 2);
    assert!(letters[0].starts_with("max_hops loop:"), "{}", letters[0]);
}

#[test]
fn validate_names_the_pointer_and_sets_dataschema() {
    let folder = tempfile::tempdir().unwrap();
    let schema = json!({"$id": "https://schemas.example/invoice/v1.json", "type": "object", "required": ["id"],
        "properties": {"total": {"type": "number"}}});
    std::fs::write(folder.path().join("invoice.json"), schema.to_string()).unwrap();
    let run = |on_invalid: &str| {
        let step = step(json!({"validate": {"schema": "invoice.json", "on_invalid": on_invalid}}));
        let Step::Validate(config) = &step else {
            panic!("{step:?}")
        };
        config.schema.load(folder.path()).unwrap();
        let mut batch = batch(vec![
            event("a.v1", r#"{"id":1,"total":2}"#),
            event("a.v1", r#"{"id":1,"total":"secret"}"#),
            event("a.v1", "["),
        ]);
        Chain::from(step.event_step(&"validate".into()).unwrap()).apply(&mut batch);
        batch
    };
    let batch = run("dead_letter");
    assert_eq!(
        batch.events[0].dataschema.as_deref(),
        Some("https://schemas.example/invoice/v1.json")
    );
    let messages: Vec<&str> = batch
        .rejected
        .iter()
        .map(|letter| letter.message.as_str())
        .collect();
    assert_eq!(messages.len(), 2);
    assert!(
        messages[0].starts_with("`/total` is not valid") && !messages[0].contains("secret"),
        "{}",
        messages[0]
    );
    assert!(messages[1].contains("not valid JSON"), "{}", messages[1]);
    assert_eq!(run("drop").events.len(), 1);
    let tagged = run("tag");
    assert_eq!(
        tagged.events[1].extensions.get("invalid"),
        Some(&ExtensionValue::String("/total".into()))
    );
    assert_eq!(tagged.events[1].dataschema, None);
}

#[test]
fn a_schema_that_does_not_compile_or_is_not_there_says_so() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("bad.json"), r#"{"type":"objekt"}"#).unwrap();
    std::fs::write(folder.path().join("worse.json"), "{").unwrap();
    for (file, told) in [
        ("bad.json", "does not compile at `/type`"),
        ("worse.json", "is not valid JSON"),
        ("none.json", "cannot be read"),
    ] {
        let Step::Validate(config) = step(json!({"validate": {"schema": file}})) else {
            panic!()
        };
        let error = config.schema.load(Path::new(folder.path())).unwrap_err();
        assert!(error.contains(told), "{error}");
    }
}

/// A service that is ready only when told, and counts.
struct Gate {
    ready: bool,
    called: usize,
}

impl Service<PipelineBatch> for Gate {
    type Response = usize;
    type Error = ();
    type Future = std::future::Ready<Result<usize, ()>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> Poll<Result<(), ()>> {
        if self.ready {
            Poll::Ready(Ok(()))
        } else {
            Poll::Pending
        }
    }

    fn call(&mut self, batch: PipelineBatch) -> Self::Future {
        assert!(self.ready, "called without being ready");
        self.called += 1;
        std::future::ready(Ok(batch.events.len()))
    }
}

#[test]
fn a_step_is_ready_when_what_follows_is_and_calls_it_once() {
    let step = step(json!({"filter": {"equals": {"type": ["a.v1"]}}}))
        .event_step(&"filter".into())
        .unwrap();
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    let mut closed = StepLayer::new(Arc::clone(&step)).layer(Gate {
        ready: false,
        called: 0,
    });
    assert!(closed.poll_ready(&mut cx).is_pending());
    let mut open = StepLayer::new(step).layer(Gate {
        ready: true,
        called: 0,
    });
    assert!(open.poll_ready(&mut cx).is_ready());
    let passed = open
        .call(batch(vec![event("a.v1", "{}"), event("b.v1", "{}")]))
        .into_inner();
    assert_eq!(passed, Ok(1));
}

/// Whatever a sender thinks of: every step answers in bounded time and memory, and what it cannot read is a dead letter.
#[test]
fn poison_ends_in_the_dead_letters() {
    let deep = format!("{}1{}", "[".repeat(1_000_000), "]".repeat(1_000_000));
    let poison: [(&str, Vec<u8>); 6] = [
        (
            "nested a million deep",
            format!(r#"{{"a":{deep}}}"#).into_bytes(),
        ),
        ("invalid UTF-8", b"{\"a\":\"\xff\"}".to_vec()),
        ("NaN", br#"{"a":NaN}"#.to_vec()),
        ("a name twice", br#"{"a":1,"a":2}"#.to_vec()),
        ("half a surrogate pair", br#"{"a":"\uDEAD"}"#.to_vec()),
        ("cut short", br#"{"a":[1,"#.to_vec()),
    ];
    let steps = [
        json!({"filter": {"keep": ".a != 7"}}),
        json!({"transform": {"vrl": ".b = .a"}}),
        json!({"set": {"fields": {"/a": 2}}}),
        json!({"remove": {"fields": ["/a"]}}),
        json!({"rename": {"fields": {"/a": "/b"}}}),
        json!({"keep_fields": {"fields": ["/a"]}}),
    ];
    for (name, data) in poison {
        for config in &steps {
            let mut event = event("a.v1", "");
            event.data = Data::opaque(data.clone());
            let (events, letters) = apply(config.clone(), vec![event]);
            assert_eq!(events.len() + letters.len(), 1, "{name}: {config}");
            // Editing text neither recurses nor decodes: only a program has to refuse what it cannot hold.
            let edits_it = matches!(name, "nested a million deep" | "half a surrogate pair");
            let is_program = config.get("filter").is_some() || config.get("transform").is_some();
            assert_eq!(
                letters.len(),
                usize::from(is_program || !edits_it),
                "{name}: {config}: {letters:?}"
            );
        }
    }
    let long = format!(r#"{{"a":"{}"}}"#, "x".repeat(10 << 20));
    for config in steps {
        let (events, _) = apply(config.clone(), vec![event("a.v1", &long)]);
        assert_eq!(events.len(), 1, "{config}");
    }
}
