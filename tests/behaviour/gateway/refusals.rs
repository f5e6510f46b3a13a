//! What bad input gets, over the wire: RFC 9457 problems that leak nothing.

use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Response, StatusCode, header};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{gateway::Place, http::Client};

const SECRET: &str = "a-secret-that-no-answer-shows";

fn sections() -> String {
    format!(
        r#"
sources:
  hooks: {{ type: webhook, scheme: gitlab-token, secrets: [{SECRET}], max_body: 1KiB }}
  slow: {{ type: webhook, scheme: gitlab-token, secrets: [{SECRET}], timeout: 300ms }}
  busy: {{ type: webhook, scheme: gitlab-token, secrets: [{SECRET}], pipeline: limited }}
pipelines:
  limited:
    - rate_limit: {{ per: source, limit: 1/hour, on_limit: reject }}
"#
    )
}

async fn send(address: SocketAddr, request: Request<Full<Bytes>>) -> Response<Bytes> {
    let mut client = Client::connect(address).await.unwrap();
    client.exchange(request).await.unwrap()
}

/// A POST with a body that is verified.
fn post(path: &str, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    Request::post(path)
        .header("x-gitlab-token", SECRET)
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(body.into()))
        .unwrap()
}

/// Checks that it is a problem of this status that leaks nothing; returns its detail.
fn problem(status: u16, kind: &str, body: &[u8]) -> String {
    assert_eq!(kind, "application/problem+json");
    let text = std::str::from_utf8(body).unwrap();
    let problem: Value = serde_json::from_str(text).unwrap();
    assert_eq!(problem["status"], status, "{text}");
    for member in ["type", "title", "detail"] {
        let said = problem[member].as_str().unwrap();
        assert!(!said.is_empty(), "{member} in {text}");
    }
    for leak in [SECRET, "data/", "src/", ".rs", "panicked", "os error"] {
        assert!(!text.contains(leak), "{leak} in {text}");
    }
    problem["detail"].as_str().unwrap().to_owned()
}

fn is_problem(answer: &Response<Bytes>, status: u16) -> String {
    assert_eq!(answer.status().as_u16(), status, "{answer:?}");
    let kind = answer.headers()[header::CONTENT_TYPE].to_str().unwrap();
    problem(status, kind, answer.body())
}

fn waits(answer: &Response<Bytes>) {
    let wait = answer.headers()[header::RETRY_AFTER].to_str().unwrap();
    assert!(wait.parse::<u64>().unwrap() >= 1, "{wait}");
}

#[tokio::test]
async fn every_refusal_is_a_problem_that_leaks_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let place = Place::new(folder.path(), &sections());
    let running = place.start().await;
    let http = running.http;

    let unsigned = Request::post("/webhook/hooks")
        .body(Full::from("{}"))
        .unwrap();
    is_problem(&send(http, unsigned).await, 401);
    let mut forged = post("/webhook/hooks", "{}");
    forged
        .headers_mut()
        .insert("x-gitlab-token", "another".parse().unwrap());
    is_problem(&send(http, forged).await, 401);
    is_problem(&send(http, post("/webhook/nobody", "{}")).await, 404);
    is_problem(&send(http, post("/", "{}")).await, 404);
    let get = Request::get("/webhook/hooks")
        .body(Full::default())
        .unwrap();
    is_problem(&send(http, get).await, 405);
    is_problem(
        &send(http, post("/webhook/hooks", vec![b'x'; 1025])).await,
        413,
    );

    let mut invalid = post(
        "/webhook/hooks",
        r#"{"specversion":"1.0","id":"1","type":"a.v1"}"#,
    );
    invalid.headers_mut().insert(
        header::CONTENT_TYPE,
        "application/cloudevents+json".parse().unwrap(),
    );
    let detail = is_problem(&send(http, invalid).await, 400);
    assert!(detail.contains("source"), "names the attribute: {detail}");

    assert_eq!(
        send(http, post("/webhook/busy", "{}")).await.status(),
        StatusCode::ACCEPTED
    );
    let limited = send(http, post("/webhook/busy", "{}")).await;
    is_problem(&limited, 429);
    waits(&limited);

    // A body that never comes.
    let mut slow = tokio::net::TcpStream::connect(http).await.unwrap();
    let head = format!(
        "POST /webhook/slow HTTP/1.1\r\nhost: {http}\r\nx-gitlab-token: {SECRET}\r\ncontent-length: 10\r\nconnection: close\r\n\r\n{{"
    );
    slow.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    slow.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(
        head.to_lowercase()
            .contains("content-type: application/problem+json"),
        "{head}"
    );
    problem(408, "application/problem+json", body.as_bytes());

    let accepted = send(http, post("/webhook/hooks", "{}")).await;
    assert_eq!(accepted.status(), StatusCode::ACCEPTED);
    place.logged(2).await;
    assert!(running.stop().success());
    assert_eq!(place.tail().len(), 2, "what was refused is no event");
    assert!(!place.log().contains(SECRET));
}

#[tokio::test]
async fn a_full_journal_answers_503_and_keeps_what_it_accepted() {
    const BODY: usize = 8 << 20;
    let sections = |sink: &str| {
        format!(
            "limits: {{ journal: 128MiB }}\nsources:\n  hooks: {{ type: webhook, scheme: gitlab-token, secrets: [{SECRET}], max_body: 10MB }}\nsinks:\n  main: {sink}\n"
        )
    };
    let folder = tempfile::tempdir().unwrap();
    // Nobody answers there: nothing is delivered.
    let away = sections(r#"{ type: kafka, brokers: "127.0.0.1:1" }"#);
    let place = Place::new(folder.path(), &away);
    let running = place.start().await;
    let mut accepted = 0;
    let refused = loop {
        let body = format!(r#"{{"n":{accepted},"fill":"{}"}}"#, "x".repeat(BODY));
        let answer = send(running.http, post("/webhook/hooks", body)).await;
        if answer.status() != StatusCode::ACCEPTED {
            break answer;
        }
        accepted += 1;
        assert!(accepted <= 16, "two segments hold no more");
    };
    is_problem(&refused, 503);
    waits(&refused);
    assert!(accepted >= 10, "{accepted}");
    let readiness = running.readiness().await.unwrap();
    assert_eq!(readiness["sinks"][0]["state"], "waiting", "{readiness}");
    running.kill();

    place.configure(&sections("{ type: log }"));
    let running = place.start().await;
    let started = std::time::Instant::now();
    let numbers = loop {
        let numbers: Vec<u64> = place
            .tail()
            .iter()
            .map(|event| event["data"]["n"].as_u64().unwrap())
            .collect();
        if numbers.len() as u64 >= accepted {
            break numbers;
        }
        assert!(
            started.elapsed() < crate::support::gateway::DEADLINE,
            "only {numbers:?} of {accepted} were delivered"
        );
    };
    assert_eq!(numbers, (0..accepted).collect::<Vec<_>>());
    assert_eq!(
        send(running.http, post("/webhook/hooks", r#"{"n":99}"#))
            .await
            .status(),
        StatusCode::ACCEPTED,
        "there is room again"
    );
    assert!(running.stop().success());
}
