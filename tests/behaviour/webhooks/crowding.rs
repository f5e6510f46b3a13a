//! Many senders, slow ones among them: one vendor's burst does not starve the others.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::support::{
    gateway::{DEADLINE, Place},
    http::Client,
};

const BODY: &str = r#"{"a":1}"#;
const SECTIONS: &str = r#"
sources:
  busy: { type: webhook, verify: { alg: token, signature: { from: "header:x-token" } }, secrets: [s3cret], max_concurrent: 4, timeout: 50s }
  quiet: { type: webhook, verify: { alg: token, signature: { from: "header:x-token" } }, secrets: [s3cret] }
"#;

/// A sender that has announced a body and waits for the gateway to ask for it.
async fn announce(address: std::net::SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST /webhook/busy HTTP/1.1\r\nhost: a\r\nx-token: s3cret\r\nexpect: 100-continue\r\n\
        content-length: {}\r\nconnection: close\r\n\r\n",
        BODY.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

async fn asked_for_its_body(stream: &mut TcpStream) {
    let mut answer = [0; 25];
    let read = tokio::time::timeout(DEADLINE, stream.read_exact(&mut answer));
    read.await.expect("the gateway asks for the body").unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 100"), "{answer:?}");
}

async fn rest(mut stream: TcpStream) -> String {
    stream.write_all(BODY.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let read = tokio::time::timeout(DEADLINE, stream.read_to_string(&mut answer));
    read.await.expect("an answer").unwrap();
    answer
}

#[tokio::test]
async fn a_source_full_of_slow_senders_leaves_the_others_alone() {
    let folder = tempfile::tempdir().unwrap();
    let place = Place::new(folder.path(), SECTIONS);
    let running = place.start().await;
    let mut slow = Vec::new();
    for _ in 0..4 {
        let mut stream = announce(running.http).await;
        asked_for_its_body(&mut stream).await;
        slow.push(stream);
    }
    // Everything that the busy source may hold is held; these wait.
    let mut waiting = Vec::new();
    for _ in 0..60 {
        waiting.push(announce(running.http).await);
    }
    let mut client = Client::connect(running.http).await.unwrap();
    let headers = [("x-token", "s3cret")];
    for _ in 0..50 {
        let (status, _) = client.post("/webhook/quiet", &headers, BODY).await.unwrap();
        assert_eq!(status, StatusCode::ACCEPTED);
    }
    let mut nothing = [0; 1];
    let early = waiting[0].try_read(&mut nothing);
    assert!(
        early.is_err(),
        "more than `max_concurrent` were let in: {early:?}"
    );
    for stream in slow {
        let answer = rest(stream).await;
        assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    }
    let mut served = tokio::task::JoinSet::new();
    for mut stream in waiting {
        served.spawn(async move {
            asked_for_its_body(&mut stream).await;
            rest(stream).await
        });
    }
    while let Some(answer) = served.join_next().await {
        let answer = answer.unwrap();
        assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    }
    drop(client);
    assert!(running.stop().success());
    assert_eq!(place.tail().len(), 114);
}

#[tokio::test]
async fn one_http2_connection_carries_many_deliveries_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let place = Place::new(folder.path(), SECTIONS);
    let running = place.start().await;
    let stream = TcpStream::connect(running.http).await.unwrap();
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    let connection = tokio::spawn(connection);
    let mut answers = tokio::task::JoinSet::new();
    for number in 0..100 {
        let mut sender = sender.clone();
        let request = Request::post(format!("http://{}/webhook/quiet", running.http))
            .header("x-token", "s3cret")
            .body(Full::new(Bytes::from(format!(r#"{{"n":{number}}}"#))))
            .unwrap();
        answers.spawn(async move {
            sender.ready().await.unwrap();
            let answer = sender.send_request(request).await.unwrap();
            let status = answer.status();
            answer.into_body().collect().await.unwrap();
            status
        });
    }
    drop(sender);
    while let Some(status) = answers.join_next().await {
        assert_eq!(status.unwrap(), StatusCode::ACCEPTED);
    }
    connection.abort();
    assert!(running.stop().success());
    assert_eq!(place.tail().len(), 100);
}
