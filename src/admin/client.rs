//! The admin API of another process, as a [`Gateway`].

use std::net::SocketAddr;
use std::time::Duration;

use axum::body::{Body, Bytes};
use futures::{FutureExt, StreamExt, stream};
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use tokio::net::TcpStream;

use super::api::{
    Checkpoint, CheckpointQuery, DeadLetter, DeadLetterQuery, DeadLettersDone, Entries,
    EntriesQuery, LogQuery, NewPosition, Problem, Reloaded, ReplayDone, ReplayQuery, Snapshot,
    Status, Trace, TraceQuery,
};
use super::gateway::{Answer, Gateway, GatewayError, LetterAction, LogLines, SourceAction};

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(5);
/// The longest line of the log.
const MAX_LINE: usize = 64 << 20;

/// A client of the admin API at one address. Each request has a connection of its own.
#[derive(Clone, Debug)]
pub struct Client {
    address: SocketAddr,
}

impl Client {
    /// A client of the gateway that listens on `listen`; one that listens everywhere is reached on this machine.
    #[must_use]
    pub fn new(listen: SocketAddr) -> Self {
        let mut address = listen;
        if address.ip().is_unspecified() {
            address.set_ip(match address.ip() {
                std::net::IpAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
                std::net::IpAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
            });
        }
        Self { address }
    }

    /// Whether somebody listens there.
    pub async fn answers(&self) -> bool {
        self.connect().await.is_ok()
    }

    async fn connect(&self) -> Result<TcpStream, GatewayError> {
        match tokio::time::timeout(CONNECT, TcpStream::connect(self.address)).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(_)) | Err(_) => Err(GatewayError::NotRunning {
                address: self.address.to_string(),
            }),
        }
    }

    async fn send(
        &self,
        method: Method,
        path: String,
        body: Option<Vec<u8>>,
    ) -> Result<Response<Incoming>, GatewayError> {
        let failed = |error: &dyn std::fmt::Display| {
            GatewayError::Failed(format!(
                "the gateway on {} broke off: {error}; see its log",
                self.address
            ))
        };
        let stream = self.connect().await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| failed(&error))?;
        // Ends by itself when the response was read or dropped.
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(format!("/api/v1{path}"))
            .header(header::HOST, self.address.to_string())
            .header(header::CONTENT_TYPE, "application/json")
            .body(body.map_or_else(Body::empty, Body::from))
            .map_err(|error| GatewayError::Invalid(error.to_string()))?;
        let response = sender
            .send_request(request)
            .await
            .map_err(|error| failed(&error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let body = response
            .into_body()
            .collect()
            .await
            .map_err(|error| failed(&error))?
            .to_bytes();
        Err(match serde_json::from_slice::<Problem>(&body) {
            Ok(problem) => GatewayError::from_problem(problem),
            Err(_) => GatewayError::Failed(format!(
                "what listens on {} answered {status} and is no gateway; check `admin.listen`",
                self.address
            )),
        })
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: String,
        body: Option<Vec<u8>>,
    ) -> Result<T, GatewayError> {
        let response = self.send(method, path, body).await?;
        let unreadable = |error: &dyn std::fmt::Display| {
            GatewayError::Failed(format!(
                "the gateway on {} answers in a way that this version does not understand: {error}; run the commands of its version",
                self.address
            ))
        };
        let no_content = response.status() == StatusCode::NO_CONTENT;
        let body = response
            .into_body()
            .collect()
            .await
            .map_err(|error| unreadable(&error))?
            .to_bytes();
        serde_json::from_slice(if no_content { b"null" } else { &body })
            .map_err(|error| unreadable(&error))
    }
}

impl Gateway for Client {
    fn status(&self) -> Answer<'_, Status> {
        self.ask(Method::GET, "/status".to_owned(), None).boxed()
    }

    fn act<'a>(&'a self, source: &'a str, action: SourceAction) -> Answer<'a, ()> {
        self.ask(
            Method::POST,
            format!("/sources/{}/{}", step(source), action.word()),
            None,
        )
        .boxed()
    }

    fn control<'a>(
        &'a self,
        source: &'a str,
        action: &'a str,
        arguments: Value,
    ) -> Answer<'a, Value> {
        let path = match action {
            "snapshot" if serde_json::from_value::<Snapshot>(arguments.clone()).is_ok() => {
                format!("/sources/{}/snapshot", step(source))
            }
            _ => format!("/sources/{}/control/{}", step(source), step(action)),
        };
        self.ask(Method::POST, path, Some(arguments.to_string().into_bytes()))
            .boxed()
    }

    fn checkpoints<'a>(&'a self, source: Option<&'a str>) -> Answer<'a, Vec<Checkpoint>> {
        let query = CheckpointQuery {
            source: source.map(str::to_owned),
        };
        async move {
            self.ask(Method::GET, with_query("/checkpoints", &query)?, None)
                .await
        }
        .boxed()
    }

    fn entries<'a>(&'a self, query: &'a EntriesQuery) -> Answer<'a, Entries> {
        async move {
            self.ask(
                Method::GET,
                with_query("/checkpoints/entries", query)?,
                None,
            )
            .await
        }
        .boxed()
    }

    fn set_checkpoint<'a>(&'a self, position: &'a NewPosition) -> Answer<'a, ()> {
        async move {
            let body = serde_json::to_vec(position)
                .map_err(|error| GatewayError::Invalid(error.to_string()))?;
            self.ask(Method::PUT, "/checkpoints".to_owned(), Some(body))
                .await
        }
        .boxed()
    }

    fn dead_letters<'a>(&'a self, query: &'a DeadLetterQuery) -> Answer<'a, Vec<DeadLetter>> {
        async move {
            self.ask(Method::GET, with_query("/dead-letters", query)?, None)
                .await
        }
        .boxed()
    }

    fn act_on_dead_letters<'a>(
        &'a self,
        action: LetterAction,
        query: &'a DeadLetterQuery,
    ) -> Answer<'a, DeadLettersDone> {
        async move {
            let body = serde_json::to_vec(query)
                .map_err(|error| GatewayError::Invalid(error.to_string()))?;
            let path = format!("/dead-letters/{}", action.word());
            self.ask(Method::POST, path, Some(body)).await
        }
        .boxed()
    }

    fn reload(&self) -> Answer<'_, Reloaded> {
        self.ask(Method::POST, "/reload".to_owned(), None).boxed()
    }

    fn trace<'a>(&'a self, id: &'a str, query: &'a TraceQuery) -> Answer<'a, Trace> {
        async move {
            let path = with_query(&format!("/trace/{}", step(id)), query)?;
            self.ask(Method::GET, path, None).await
        }
        .boxed()
    }

    fn replay<'a>(&'a self, query: &'a ReplayQuery) -> Answer<'a, ReplayDone> {
        async move {
            let body = serde_json::to_vec(query)
                .map_err(|error| GatewayError::Invalid(error.to_string()))?;
            self.ask(Method::POST, "/replay".to_owned(), Some(body))
                .await
        }
        .boxed()
    }

    fn log<'a>(&'a self, query: &'a LogQuery) -> Answer<'a, LogLines> {
        async move {
            let response = self
                .send(Method::GET, with_query("/log", query)?, None)
                .await?;
            Ok(lines(response.into_body()).boxed())
        }
        .boxed()
    }
}

/// A segment of a path.
fn step(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

fn with_query<Q: Serialize>(path: &str, query: &Q) -> Result<String, GatewayError> {
    let query = serde_urlencoded::to_string(query)
        .map_err(|error| GatewayError::Invalid(error.to_string()))?;
    Ok(format!("{path}?{query}"))
}

/// Splits a body into lines.
fn lines(body: Incoming) -> impl futures::Stream<Item = Result<String, GatewayError>> + Send {
    let broke_off =
        |what: String| GatewayError::Failed(format!("the gateway broke off: {what}; see its log"));
    stream::try_unfold(
        (body, Vec::<u8>::new(), false),
        move |(mut body, mut pending, mut ended)| async move {
            loop {
                if let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
                    let rest = pending.split_off(end + 1);
                    pending.pop();
                    let line =
                        String::from_utf8(pending).map_err(|error| broke_off(error.to_string()))?;
                    return Ok(Some((line, (body, rest, ended))));
                }
                if ended {
                    return Ok(None);
                }
                match body.frame().await {
                    Some(Ok(frame)) => {
                        let data: Bytes = frame.into_data().unwrap_or_default();
                        pending.extend_from_slice(&data);
                        if pending.len() > MAX_LINE {
                            return Err(broke_off(format!(
                                "an event is longer than {MAX_LINE} bytes"
                            )));
                        }
                    }
                    Some(Err(error)) => return Err(broke_off(error.to_string())),
                    None => ended = true,
                }
            }
        },
    )
}
