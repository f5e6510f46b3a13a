//! The listener and its client, with a gateway that remembers what it was asked.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use metrics_exporter_prometheus::PrometheusBuilder;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::config::Finding;

/// Answers everything, and remembers the questions.
#[derive(Default)]
struct Scripted {
    asked: Mutex<Vec<String>>,
    not_ready: bool,
}

impl Scripted {
    fn note(&self, asked: String) {
        self.asked.lock().unwrap().push(asked);
    }
}

impl Gateway for Scripted {
    fn status(&self) -> Answer<'_, Status> {
        let source = Component {
            name: "github".to_owned(),
            kind: "webhook".to_owned(),
            state: "ready".to_owned(),
            reason: None,
            breaker: None,
            warnings: BTreeMap::from([("secret".to_owned(), "expires soon".to_owned())]),
        };
        let status = Status {
            ready: !self.not_ready,
            sources: vec![source],
            journal: Some(Journal {
                bytes: 67,
                capacity_bytes: 100,
                oldest_undelivered: Some("2026-01-31T00:00:00Z".to_owned()),
                corruptions: 0,
            }),
            ..Status::default()
        };
        async move { Ok(status) }.boxed()
    }

    fn act<'a>(&'a self, source: &'a str, action: SourceAction) -> Answer<'a, ()> {
        self.note(format!("{} {source}", action.word()));
        let known = source == "git hub/ü";
        async move {
            if known {
                Ok(())
            } else {
                Err(GatewayError::NotFound(format!(
                    "there is no source `{source}`"
                )))
            }
        }
        .boxed()
    }

    fn control<'a>(
        &'a self,
        source: &'a str,
        action: &'a str,
        arguments: Value,
    ) -> Answer<'a, Value> {
        self.note(format!("{action} {source} {arguments}"));
        async move { Ok(json!({ "rows": 3 })) }.boxed()
    }

    fn checkpoints<'a>(&'a self, source: Option<&'a str>) -> Answer<'a, Vec<Checkpoint>> {
        self.note(format!("checkpoints {source:?}"));
        async move {
            Ok(vec![Checkpoint {
                lane: "crm/slot".to_owned(),
                position: json!({ "lsn": "0/1" }),
            }])
        }
        .boxed()
    }

    fn entries<'a>(&'a self, query: &'a EntriesQuery) -> Answer<'a, Entries> {
        self.note(format!(
            "entries {} {} {:?} {}",
            query.lane, query.prefix, query.after, query.limit
        ));
        async move {
            Ok(Entries {
                entries: vec![Entry {
                    key: "a".to_owned(),
                    value: vec![0, 255],
                }],
            })
        }
        .boxed()
    }

    fn set_checkpoint<'a>(&'a self, position: &'a NewPosition) -> Answer<'a, ()> {
        self.note(format!("set {} {}", position.lane, position.position));
        async {
            Err(GatewayError::Refused(
                "the source runs; pause it first".to_owned(),
            ))
        }
        .boxed()
    }

    fn dead_letters<'a>(&'a self, query: &'a DeadLetterQuery) -> Answer<'a, Vec<DeadLetter>> {
        self.note(format!("dead letters {:?} {}", query.source, query.limit));
        async move { Ok(Vec::new()) }.boxed()
    }

    fn act_on_dead_letters<'a>(
        &'a self,
        action: LetterAction,
        query: &'a DeadLetterQuery,
    ) -> Answer<'a, DeadLettersDone> {
        self.note(format!("{} {:?}", action.word(), query.reason));
        let refused = BTreeMap::from([("gone".to_owned(), 1)]);
        async move {
            Ok(DeadLettersDone {
                done: 2,
                refused,
                next: Some(7),
            })
        }
        .boxed()
    }

    fn trace<'a>(&'a self, id: &'a str, query: &'a TraceQuery) -> Answer<'a, Trace> {
        self.note(format!("trace {id} {:?}", query.since));
        let trace = Trace {
            id: id.to_owned(),
            ..Trace::default()
        };
        async move { Ok(trace) }.boxed()
    }

    fn replay<'a>(&'a self, query: &'a ReplayQuery) -> Answer<'a, ReplayDone> {
        self.note(format!(
            "replay {:?} {:?} {} dry={}",
            query.from, query.topic, query.replayid, query.dry_run
        ));
        async move {
            Ok(ReplayDone {
                taken: 3,
                refused: BTreeMap::new(),
                next: Some("9".to_owned()),
            })
        }
        .boxed()
    }

    fn reload(&self) -> Answer<'_, Reloaded> {
        let finding = Finding {
            file: "headgate.yaml".into(),
            line: 3,
            column: 5,
            path: "sources.a".to_owned(),
            message: "unknown key".to_owned(),
        };
        async move { Err(GatewayError::Configuration(vec![finding])) }.boxed()
    }

    fn log<'a>(&'a self, query: &'a LogQuery) -> Answer<'a, LogLines> {
        self.note(format!(
            "log {:?} {:?} follow={}",
            query.kind, query.after, query.follow
        ));
        let lines = stream::iter((1..=3).map(|n| Ok(format!("{{\"logposition\":{n}}}"))));
        let lines = if query.follow {
            lines.chain(stream::pending()).boxed()
        } else {
            lines.boxed()
        };
        async move { Ok(lines) }.boxed()
    }
}

struct Served {
    gateway: Arc<Scripted>,
    client: Client,
    address: std::net::SocketAddr,
    shutdown: CancellationToken,
    task: tokio::task::JoinHandle<std::io::Result<()>>,
}

async fn served(gateway: Scripted) -> Served {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (gateway, shutdown) = (Arc::new(gateway), CancellationToken::new());
    let metrics = PrometheusBuilder::new().build_recorder().handle();
    let task = tokio::spawn(serve(listener, gateway.clone(), metrics, shutdown.clone()));
    Served {
        gateway,
        client: Client::new(address),
        address,
        shutdown,
        task,
    }
}

/// A request as written, and the whole answer.
async fn raw(address: std::net::SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn the_client_asks_what_the_gateway_is_asked() {
    let served = served(Scripted::default()).await;
    let client = &served.client;
    assert_eq!(
        client.status().await.unwrap(),
        served.gateway.status().await.unwrap()
    );
    client.act("git hub/ü", SourceAction::Pause).await.unwrap();
    assert_eq!(
        client
            .control("crm", "snapshot", json!({ "table": "t" }))
            .await
            .unwrap(),
        json!({ "rows": 3 })
    );
    client
        .control("crm", "vacuum/now", json!({}))
        .await
        .unwrap();
    assert_eq!(
        client.checkpoints(Some("crm")).await.unwrap()[0].lane,
        "crm/slot"
    );
    client.checkpoints(None).await.unwrap();
    let query = EntriesQuery {
        lane: "crm/a b&c".to_owned(),
        prefix: "p=".to_owned(),
        after: Some("k".to_owned()),
        limit: 7,
    };
    assert_eq!(
        client.entries(&query).await.unwrap().entries[0].value,
        [0, 255]
    );
    let asked = served.gateway.asked.lock().unwrap().join("\n");
    insta::assert_snapshot!(asked, @r#"
        pause git hub/ü
        snapshot crm {"table":"t"}
        vacuum/now crm {}
        checkpoints Some("crm")
        checkpoints None
        entries crm/a b&c p= Some("k") 7
        "#);
}

#[tokio::test]
async fn errors_keep_their_kind() {
    let served = served(Scripted::default()).await;
    let client = &served.client;
    let unknown = client.act("nope", SourceAction::Resume).await.unwrap_err();
    assert!(
        matches!(&unknown, GatewayError::NotFound(detail) if detail == "there is no source `nope`"),
        "{unknown:?}"
    );
    let position = NewPosition {
        lane: "a".to_owned(),
        position: json!(1),
    };
    assert!(matches!(
        client.set_checkpoint(&position).await,
        Err(GatewayError::Refused(_))
    ));
    match client.reload().await {
        Err(GatewayError::Configuration(findings)) => {
            assert_eq!(
                findings[0].to_string(),
                "headgate.yaml:3:5: sources.a: unknown key"
            );
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn nobody_there_says_how_to_start_one() {
    let address = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let error = Client::new(address).status().await.unwrap_err();
    assert!(
        matches!(&error, GatewayError::NotRunning { .. })
            && error.to_string().contains("headgate run"),
        "{error}"
    );
}

#[tokio::test]
async fn the_log_streams_and_ends_with_the_gateway() {
    let served = served(Scripted::default()).await;
    let query = LogQuery {
        kind: Some("a.*".to_owned()),
        ..LogQuery::default()
    };
    let lines: Vec<_> = served
        .client
        .log(&query)
        .await
        .unwrap()
        .try_collect()
        .await
        .unwrap();
    assert_eq!(
        lines,
        [
            "{\"logposition\":1}",
            "{\"logposition\":2}",
            "{\"logposition\":3}"
        ]
    );

    let query = LogQuery {
        follow: true,
        after: Some(9),
        ..LogQuery::default()
    };
    let mut followed = served.client.log(&query).await.unwrap();
    for _ in 0..3 {
        followed.next().await.unwrap().unwrap();
    }
    served.shutdown.cancel();
    assert!(followed.next().await.is_none());
    served.task.await.unwrap().unwrap();
}

#[tokio::test]
async fn health_readiness_and_figures() {
    let served = served(Scripted {
        not_ready: true,
        ..Scripted::default()
    })
    .await;
    let get = async |path: &str| raw(served.address, &format!("GET {path} HTTP/1.0\r\n\r\n")).await;
    assert!(get("/healthz").await.starts_with("HTTP/1.0 200"));
    let ready = get("/readyz").await;
    assert!(
        ready.starts_with("HTTP/1.0 503") && ready.contains("expires soon"),
        "{ready}"
    );
    let figures = get("/metrics").await;
    assert!(figures.starts_with("HTTP/1.0 200"), "{figures}");
    assert!(
        figures.contains("\nheadgate_journal_bytes 67\n"),
        "{figures}"
    );
    let age = figures
        .lines()
        .find_map(|line| line.strip_prefix("headgate_journal_oldest_undelivered_seconds "));
    assert!(age.unwrap().parse::<f64>().unwrap() > 0.0, "{figures}");
    let document = get("/api/v1/openapi.json").await;
    assert!(document.contains("\"openapi\":\"3.1.0\""), "{document}");
    let missing = get("/api/v1/nope").await;
    assert!(
        missing.starts_with("HTTP/1.0 404") && missing.contains("application/problem+json"),
        "{missing}"
    );
    let invalid = get("/api/v1/log?follow=perhaps").await;
    assert!(invalid.starts_with("HTTP/1.0 400"), "{invalid}");
    let method = get("/api/v1/reload").await;
    assert!(
        method.starts_with("HTTP/1.0 405") && method.contains("application/problem+json"),
        "{method}"
    );
}

#[tokio::test]
async fn web_pages_are_refused() {
    let served = served(Scripted::default()).await;
    let request = "POST /api/v1/sources/a/pause HTTP/1.0\r\nOrigin: https://evil.example\r\nContent-Length: 0\r\n\r\n";
    assert!(
        raw(served.address, request)
            .await
            .starts_with("HTTP/1.0 403")
    );
    assert!(served.gateway.asked.lock().unwrap().is_empty());
}

#[test]
fn the_openapi_document_is_fresh() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference/openapi.json");
    let generated = serde_json::to_string_pretty(&openapi()).unwrap() + "\n";
    if std::env::var_os("HEADGATE_REFRESH").is_some() {
        std::fs::write(&path, &generated).unwrap();
    }
    let checked_in = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        checked_in == generated,
        "docs/reference/openapi.json is stale; refresh it with `HEADGATE_REFRESH=1 cargo test -p headgate --lib is_fresh` and commit it"
    );
}

#[tokio::test]
async fn dead_letters_go_through_the_api() {
    let served = served(Scripted::default()).await;
    let query = DeadLetterQuery {
        source: Some("a b".to_owned()),
        reason: Some("malformed".to_owned()),
        limit: 5,
        ..DeadLetterQuery::default()
    };
    assert!(served.client.dead_letters(&query).await.unwrap().is_empty());
    let done = served
        .client
        .act_on_dead_letters(LetterAction::Retry, &query)
        .await
        .unwrap();
    assert_eq!((done.done, done.next, done.refused.len()), (2, Some(7), 1));
    let asked = served.gateway.asked.lock().unwrap().join("\n");
    assert_eq!(
        asked,
        "dead letters Some(\"a b\") 5\nretry Some(\"malformed\")"
    );
}

#[tokio::test]
async fn traces_and_replays_go_through_the_api() {
    let served = served(Scripted::default()).await;
    let query = ReplayQuery {
        from: ReplayFrom::Log,
        sink: None,
        topics: Vec::new(),
        to: None,
        topic: Some("again".to_owned()),
        since: None,
        until: None,
        source: None,
        kind: None,
        id: None,
        tenant: None,
        replayid: "r1".to_owned(),
        after: None,
        limit: 5,
        dry_run: true,
    };
    let since = TraceQuery {
        since: Some("2026-01-31T08:00:00Z".to_owned()),
    };
    let trace = served.client.trace("a/b c", &since).await.unwrap();
    assert_eq!(trace.id, "a/b c");
    let asked = std::mem::take(&mut *served.gateway.asked.lock().unwrap()).join("\n");
    assert_eq!(asked, "trace a/b c Some(\"2026-01-31T08:00:00Z\")");
    let done = served.client.replay(&query).await.unwrap();
    assert_eq!((done.taken, done.next.as_deref()), (3, Some("9")));
    let asked = served.gateway.asked.lock().unwrap().join("\n");
    assert_eq!(asked, "replay Log Some(\"again\") r1 dry=true");
}
