//! CPU of each layer for an event, in batches of 256, on a 600-byte event, beside the bare library call in the same run:
//! `cargo bench --bench pipeline`.
//!
//! Rounds are interleaved, so that what slows the machine slows all alike; the table shows medians and spreads. What building and
//! dropping the batch costs is measured as a row of its own and taken off the others. A row that has a bound is compared with a
//! bare row round by round: the difference of what both cost in the same round. The bound is kept if it holds in three quarters of
//! the rounds, missed if it does in less than one.
//!
//! The bare rows are what whoever has bytes and one of the libraries would write: parse the data into the library's own value
//! (`serde_json::Value` for `jsonschema`, VRL's for `vrl`, both by serde_json), call, and after a transform print the result. They
//! keep nothing, count nothing, and look neither for names that occur twice nor for numbers that change on the way. The layers do
//! all that. The realistic stack is the service that the gateway builds, with its route, into no sinks.

mod harness;

use std::cell::RefCell;
use std::hint::black_box;
use std::sync::Arc;

use headgate::pipeline::{
    LaneContext, LayerStates, PipelineBatch, Step,
    dead_letter::DeadLetterWriter,
    share::Priority,
    stack::{self, PipelinePlan, StackContext},
    step::Chain,
};
use headgate_sdk::{Data, DeadLetter, Envelope, LaneId, Replay};
use serde_json::{Value, json};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::{Service, ServiceExt};

const EVENTS: usize = 256;
const ROUNDS: usize = 31;
const REPEAT: usize = 40;

/// The most that a layer may cost over the library that it wraps.
const OVER_BARE: f64 = 300.0;
/// What a realistic stack should cost.
const REALISTIC: f64 = 12_000.0;

/// A condition that looks at the data.
const KEEP: &str = ".total != \"0\"";

type Row = (&'static str, Box<dyn Fn(PipelineBatch) -> PipelineBatch>);

fn main() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(folder.path().join("schema.json"), schema().to_string()).expect("a file");
    let rows = rows(folder.path());
    let events = vec![sample(); EVENTS];
    let lane = lane();
    let mut measured = vec![Vec::new(); rows.len()];
    for _ in 0..ROUNDS {
        for ((_, each), times) in rows.iter().zip(&mut measured) {
            let started = harness::cpu_of_self();
            for _ in 0..REPEAT {
                black_box(each(PipelineBatch::new(Arc::clone(&lane), events.clone())));
            }
            let cpu = harness::cpu_of_self() - started;
            times.push(cpu.as_secs_f64() * 1e9 / (REPEAT * EVENTS) as f64);
        }
    }
    println!(
        "data {} bytes, batches of {EVENTS}, {ROUNDS} interleaved rounds; nanoseconds of CPU (user and system) an event\n",
        sample().data.len()
    );
    println!("{:<62} {:>8}   spread", "", "median");
    let bare = measured[0].clone();
    show(rows[0].0, bare.clone());
    for ((name, _), times) in rows.iter().zip(&measured).skip(1) {
        show(name, minus(times, &bare));
    }
    println!();
    let times = |wanted: &str| {
        let at = rows.iter().position(|(name, _)| name.trim() == wanted);
        &measured[at.expect("it is a row")]
    };
    let bound = |what: &str, times: Vec<f64>, most: f64| {
        let verdict = match quartiles(&times) {
            (_, upper) if upper <= most => "kept",
            (lower, _) if lower > most => "MISSED",
            _ => "open, inside the spread",
        };
        show(&format!("{what}: at most {most:.0}: {verdict}"), times);
    };
    bound(
        "validate, over bare",
        minus(times("validate"), times(BARE_VALIDATE)),
        OVER_BARE,
    );
    #[cfg(feature = "vrl")]
    {
        bound(
            "transform, over bare",
            minus(times("transform"), times(BARE_TRANSFORM)),
            OVER_BARE,
        );
        bound("a realistic stack", minus(times(STACK), &bare), REALISTIC);
    }
}

/// Round by round.
fn minus(times: &[f64], less: &[f64]) -> Vec<f64> {
    times
        .iter()
        .zip(less)
        .map(|(time, less)| time - less)
        .collect()
}

/// Lowest, median, highest.
fn spread(times: &[f64]) -> (f64, f64, f64) {
    let mut times = times.to_vec();
    times.sort_by(f64::total_cmp);
    (times[0], times[times.len() / 2], times[times.len() - 1])
}

/// A quarter of the rounds lies below the first, and one above the second.
fn quartiles(times: &[f64]) -> (f64, f64) {
    let mut times = times.to_vec();
    times.sort_by(f64::total_cmp);
    (times[times.len() / 4], times[times.len() * 3 / 4])
}

fn show(name: &str, times: Vec<f64>) {
    let (lowest, median, highest) = spread(&times);
    println!("{name:<62} {median:>8.0}   {lowest:.0}–{highest:.0}");
}

const BARE_VALIDATE: &str = "bare: serde_json parse + jsonschema";
#[cfg(feature = "vrl")]
const BARE_TRANSFORM: &str = "bare: serde_json parse + vrl + serde_json write";
#[cfg(feature = "vrl")]
const STACK: &str = "a realistic stack (filter, transform, validate, dedup, set, route)";

fn rows(folder: &std::path::Path) -> Vec<Row> {
    let validator = jsonschema::validator_for(&schema()).expect("a schema");
    let transform = ".total = to_float!(.total); .seen = true; del(.note)";
    let mut rows: Vec<Row> = vec![
        (
            "(a batch made and dropped; taken off below)",
            Box::new(|batch| batch),
        ),
        (
            "six layers that pass everything",
            layers(
                &vec![json!({"filter": {"equals": {"type": ["invoice.paid.v1"]}}}); 6],
                folder,
            ),
        ),
        (
            "filter equals",
            layers(
                &[json!({"filter": {"equals": {"type": ["invoice.paid.v1"]}}})],
                folder,
            ),
        ),
        (
            "filter keep, attributes only",
            layers(
                &[json!({"filter": {"keep": "%type != \"ping.v1\""}})],
                folder,
            ),
        ),
        (
            "filter keep, data",
            layers(&[json!({"filter": {"keep": KEEP}})], folder),
        ),
        (
            "set one member",
            layers(&[json!({"set": {"fields": {"/currency": "EUR"}}})], folder),
        ),
        (
            "set subject and partitionkey from data",
            layers(
                &[
                    json!({"set": {"fields": {"subject": "{/id}", "partitionkey": "{/customer/id}"}}}),
                ],
                folder,
            ),
        ),
        (
            "remove one member",
            layers(&[json!({"remove": {"fields": ["/note"]}})], folder),
        ),
        (
            "rename one member",
            layers(
                &[json!({"rename": {"fields": {"/note": "/remark"}}})],
                folder,
            ),
        ),
        (
            "keep three members",
            layers(
                &[json!({"keep_fields": {"fields": ["/id", "/total", "/customer/id"]}})],
                folder,
            ),
        ),
        (
            "redact: mask one member",
            layers(
                &[json!({"redact": {"fields": ["/customer/name"], "keep_last": 2}})],
                folder,
            ),
        ),
        (
            "redact: hash one member",
            layers(
                &[
                    json!({"redact": {"fields": ["/customer/name"], "with": "hash", "key": "a key of enough characters"}}),
                ],
                folder,
            ),
        ),
        (
            "max_age",
            layers(&[json!({"max_age": {"age": "10000d"}})], folder),
        ),
        (
            "max_hops",
            layers(&[json!({"max_hops": {"hops": 8}})], folder),
        ),
        (
            "dedup, in memory",
            layers(&[json!({"dedup": {"key": "%id", "window": "1h"}})], folder),
        ),
        (
            "validate",
            layers(&[json!({"validate": {"schema": "schema.json"}})], folder),
        ),
    ];
    rows.push((
        "route",
        stack(&[json!({"route": {"topic": "{tenantid}.{type}"}})], folder),
    ));
    rows.push((
        "route: two rules by type, key from data",
        stack(
            &[
                json!({"route": {"topic": "rest", "key": "{/customer/id}", "rules": [
                    {"types": ["order.*"], "topic": "orders"},
                    {"types": ["invoice.*"], "topic": "{tenantid}.invoices"},
                ]}}),
            ],
            folder,
        ),
    ));
    rows.push((
        "rate_limit and route, nobody waits",
        stack(
            &[
                json!({"rate_limit": {"limit": "1000000000/second", "on_limit": "wait"}}),
                json!({"route": {"topic": "{tenantid}.{type}"}}),
            ],
            folder,
        ),
    ));
    rows.push((
        "  bare: serde_json parse + jsonschema",
        Box::new(move |batch| {
            for event in &batch.events {
                let data: Value =
                    serde_json::from_slice(event.data.bytes().expect("data")).expect("JSON");
                black_box(validator.is_valid(&data));
            }
            batch
        }),
    ));
    #[cfg(feature = "vrl")]
    {
        rows.push((
            "transform",
            layers(&[json!({"transform": {"vrl": transform}})], folder),
        ));
        rows.push((
            "  bare: serde_json parse + vrl + serde_json write",
            bare_vrl(transform, true),
        ));
        rows.push((
            "  bare: serde_json parse + vrl, the condition of `filter keep, data`",
            bare_vrl(KEEP, false),
        ));
    }
    #[cfg(feature = "vrl")]
    rows.push((
        STACK,
        stack(
            &[
                json!({"filter": {"keep": "%type != \"ping.v1\""}}),
                json!({"transform": {"vrl": transform}}),
                json!({"validate": {"schema": "schema.json"}}),
                json!({"dedup": {"key": ".id", "window": "1h"}}),
                json!({"set": {"fields": {"subject": "{/id}", "partitionkey": "{/customer/id}"}}}),
                json!({"route": {"topic": "{tenantid}.{type}"}}),
            ],
            folder,
        ),
    ));
    rows
}

/// The library's own call, with what is in front of it and, after a transform, behind it.
#[cfg(feature = "vrl")]
fn bare_vrl(source: &str, writes: bool) -> Box<dyn Fn(PipelineBatch) -> PipelineBatch> {
    use vrl::compiler::runtime::Runtime;
    use vrl::compiler::state::RuntimeState;
    use vrl::compiler::{TargetValue, TimeZone};
    use vrl::value::{Secrets, Value as Vrl};
    let program = vrl::compiler::compile(source, &vrl::stdlib::all())
        .expect("it compiles")
        .program;
    let zone = TimeZone::parse("UTC").expect("UTC");
    let runtime = std::cell::RefCell::new(Runtime::new(RuntimeState::default()));
    Box::new(move |batch| {
        let mut runtime = runtime.borrow_mut();
        for event in &batch.events {
            let value: Vrl =
                serde_json::from_slice(event.data.bytes().expect("data")).expect("JSON");
            let mut target = TargetValue {
                value,
                metadata: Vrl::Object(Default::default()),
                secrets: Secrets::default(),
            };
            runtime.clear();
            let result = runtime
                .resolve(&mut target, &program, &zone)
                .expect("it runs");
            black_box(result);
            if writes {
                black_box(serde_json::to_vec(&target.value).expect("JSON"));
            }
        }
        batch
    })
}

/// Each step by itself.
fn layers(
    steps: &[Value],
    folder: &std::path::Path,
) -> Box<dyn Fn(PipelineBatch) -> PipelineBatch> {
    let steps: Vec<Chain> = plan(steps, folder)
        .event_steps(&LayerStates::default())
        .into_iter()
        .map(|(_, step)| step)
        .collect();
    Box::new(move |mut batch| {
        for step in &steps {
            step.apply(&mut batch);
        }
        assert_eq!(batch.events.len(), EVENTS, "{:?}", batch.rejected.first());
        batch
    })
}

/// Nothing fails here.
struct NoDeadLetters;

impl DeadLetterWriter for NoDeadLetters {
    fn write(&self, letters: Vec<DeadLetter>) -> futures::future::BoxFuture<'static, ()> {
        assert!(letters.is_empty(), "{:?}", letters.first());
        Box::pin(async {})
    }
}

/// The whole stack as the gateway builds it.
fn stack(steps: &[Value], folder: &std::path::Path) -> Box<dyn Fn(PipelineBatch) -> PipelineBatch> {
    let cx = StackContext {
        sinks: Arc::new([]),
        dead_letters: Arc::new(NoDeadLetters),
        states: LayerStates::default(),
        tasks: TaskTracker::new(),
        abandon: CancellationToken::new(),
    };
    let lane = lane();
    let deliver = stack::deliver(&lane.id, lane.shard, Priority::default(), &cx);
    let service = RefCell::new(plan(steps, folder).build(deliver, &cx));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    Box::new(move |batch| {
        let mut service = service.borrow_mut();
        runtime.block_on(async {
            let ready = service.ready().await.expect("it is open");
            ready.call(batch).await.expect("it takes everything").await;
        });
        PipelineBatch::new(Arc::clone(&lane), Vec::new())
    })
}

fn plan(steps: &[Value], folder: &std::path::Path) -> PipelinePlan {
    let steps: Vec<Step> = steps
        .iter()
        .map(|step| serde_json::from_value(step.clone()).expect("a step"))
        .collect();
    for step in &steps {
        if let Step::Validate(validate) = step {
            validate.schema.load(folder).expect("a schema");
        }
    }
    PipelinePlan::new("bench", &steps)
}

fn lane() -> Arc<LaneContext> {
    Arc::new(LaneContext {
        id: LaneId::from_stored("lane"),
        source: "crm".into(),
        tenant: "acme".into(),
        replay: Replay::FromSource,
        shard: 0,
    })
}

fn schema() -> Value {
    json!({
        "type": "object",
        "required": ["id", "total", "customer"],
        "properties": {
            "id": {"type": "string", "minLength": 1},
            "total": {"type": ["string", "number"]},
            "customer": {"type": "object", "required": ["id"], "properties": {"id": {"type": "integer"}}},
            "lines": {"type": "array", "items": {"type": "object", "required": ["sku", "count"], "properties": {"count": {"type": "integer", "minimum": 1}}}}
        }
    })
}

fn sample() -> Envelope {
    let line =
        |n: u32| format!(r#"{{"sku":"article-{n:04}","count":{n},"price":"{n}.50","tax":0.19}}"#);
    let data = format!(
        r#"{{"id":"2026-000017","total":"1200.50","currency":"EUR","customer":{{"id":4711,"name":"Octo Cat GmbH","city":"Hamburg","country":"DE"}},"lines":[{},{},{},{},{}],"note":"to be paid within fourteen days","address":{{"street":"Alter Steinweg 11b, Hinterhaus","zip":"20095"}},"paid":false,"reminder":null}}"#,
        line(1),
        line(2),
        line(3),
        line(4),
        line(5)
    );
    let time = "2026-01-31T12:00:00Z".parse().expect("an instant");
    let mut event = Envelope::new(
        "72d3162e-cc78-11e3-81ab-4c9367dc0958",
        "urn:headgate:acme:files:invoices",
        "invoice.paid.v1",
        time,
        Data::json(data),
    );
    event.tenantid = "acme".into();
    event
}
