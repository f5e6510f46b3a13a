//! The paths of the admin API: one list that both the router and the OpenAPI document are made of.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{MethodRouter, get, post, put};
use futures::{FutureExt, StreamExt, TryStreamExt, future::BoxFuture};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Serialize, de::DeserializeOwned};

use super::api::{
    Checkpoint, CheckpointQuery, Component, DeadLetter, DeadLetterQuery, DeadLettersDone, Entries,
    EntriesQuery, LogQuery, NewPosition, Reloaded, ReplayDone, ReplayQuery, Snapshot, Status,
    Trace, TraceQuery,
};
use super::gateway::{Gateway, GatewayError, LetterAction, SourceAction};

/// The gateway that the listener speaks for.
pub(super) type Shared = Arc<dyn Gateway>;

type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// One path and method, with what it takes and says.
pub(super) struct Operation {
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    pub(super) name: &'static str,
    pub(super) summary: &'static str,
    pub(super) query: Option<SchemaOf>,
    pub(super) body: Option<SchemaOf>,
    pub(super) answer: Said,
    route: fn() -> MethodRouter<Shared>,
}

/// What a successful answer holds.
#[derive(Clone, Copy)]
pub(super) enum Said {
    Nothing,
    Json(SchemaOf),
    Lines,
}

/// All operations below `/api/v1`.
pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation {
            method: "get",
            path: "/status",
            name: "status",
            summary: "How the gateway, its sources and its sinks are.",
            query: None,
            body: None,
            answer: says::<Status>(),
            route: || {
                get(|State(gateway): State<Shared>| async move { json(gateway.status().await) })
            },
        },
        Operation {
            method: "get",
            path: "/sources",
            name: "listSources",
            summary: "How the sources are.",
            query: None,
            body: None,
            answer: says::<Vec<Component>>(),
            route: || {
                get(|State(gateway): State<Shared>| async move {
                    json(gateway.status().await.map(|status| status.sources))
                })
            },
        },
        Operation {
            method: "post",
            path: "/sources/{source}/pause",
            name: "pauseSource",
            summary: "Lets a source take nothing in while it stays connected.",
            query: None,
            body: None,
            answer: Said::Nothing,
            route: || act(SourceAction::Pause),
        },
        Operation {
            method: "post",
            path: "/sources/{source}/resume",
            name: "resumeSource",
            summary: "Lets a paused source go on.",
            query: None,
            body: None,
            answer: Said::Nothing,
            route: || act(SourceAction::Resume),
        },
        Operation {
            method: "post",
            path: "/sources/{source}/restart",
            name: "restartSource",
            summary: "Ends the present run of a source and starts a new one, also after it failed for good.",
            query: None,
            body: None,
            answer: Said::Nothing,
            route: || act(SourceAction::Restart),
        },
        Operation {
            method: "post",
            path: "/sources/{source}/snapshot",
            name: "snapshotSource",
            summary: "Asks a source to read what is there already.",
            query: None,
            body: Some(schema::<Snapshot>),
            answer: says::<serde_json::Value>(),
            route: || post(snapshot),
        },
        Operation {
            method: "post",
            path: "/sources/{source}/control/{action}",
            name: "controlSource",
            summary: "Sends a source a command of its connector's own, with its arguments as a JSON object.",
            query: None,
            body: Some(schema::<serde_json::Value>),
            answer: says::<serde_json::Value>(),
            route: || post(control),
        },
        Operation {
            method: "get",
            path: "/checkpoints",
            name: "listCheckpoints",
            summary: "Where lanes resume.",
            query: Some(schema::<CheckpointQuery>),
            body: None,
            answer: says::<Vec<Checkpoint>>(),
            route: || {
                get(
                    |State(gateway): State<Shared>, RawQuery(query): RawQuery| async move {
                        with_query(query, |query: CheckpointQuery| async move {
                            gateway.checkpoints(query.source.as_deref()).await
                        })
                        .await
                    },
                )
            },
        },
        Operation {
            method: "put",
            path: "/checkpoints",
            name: "setCheckpoint",
            summary: "Moves a lane; refused while its source runs.",
            query: None,
            body: Some(schema::<NewPosition>),
            answer: Said::Nothing,
            route: || put(set_checkpoint),
        },
        Operation {
            method: "get",
            path: "/checkpoints/entries",
            name: "listEntries",
            summary: "The keyed entries of a lane's checkpoint.",
            query: Some(schema::<EntriesQuery>),
            body: None,
            answer: says::<Entries>(),
            route: || {
                get(
                    |State(gateway): State<Shared>, RawQuery(query): RawQuery| async move {
                        with_query(query, |query: EntriesQuery| async move {
                            gateway.entries(&query).await
                        })
                        .await
                    },
                )
            },
        },
        Operation {
            method: "post",
            path: "/reload",
            name: "reload",
            summary: "Reads the configuration again and swaps what changed; a wrong one changes nothing.",
            query: None,
            body: None,
            answer: says::<Reloaded>(),
            route: || {
                post(|State(gateway): State<Shared>| async move { json(gateway.reload().await) })
            },
        },
        Operation {
            method: "get",
            path: "/dead-letters",
            name: "listDeadLetters",
            summary: "Events that could not be delivered and wait for somebody, oldest first.",
            query: Some(schema::<DeadLetterQuery>),
            body: None,
            answer: says::<Vec<DeadLetter>>(),
            route: || {
                get(
                    |State(gateway): State<Shared>, RawQuery(query): RawQuery| async move {
                        with_query(query, |query: DeadLetterQuery| async move {
                            gateway.dead_letters(&query).await
                        })
                        .await
                    },
                )
            },
        },
        Operation {
            method: "post",
            path: "/dead-letters/retry",
            name: "retryDeadLetters",
            summary: "Gives dead letters to the present pipelines of their sources again; go on after `next`.",
            query: None,
            body: Some(schema::<DeadLetterQuery>),
            answer: says::<DeadLettersDone>(),
            route: || act_on_letters(LetterAction::Retry),
        },
        Operation {
            method: "post",
            path: "/dead-letters/discard",
            name: "discardDeadLetters",
            summary: "Gives dead letters up, with a record of it; go on after `next`.",
            query: None,
            body: Some(schema::<DeadLetterQuery>),
            answer: says::<DeadLettersDone>(),
            route: || act_on_letters(LetterAction::Discard),
        },
        Operation {
            method: "post",
            path: "/replay",
            name: "replay",
            summary: "Delivers events once more, marked with `replayid`, or counts them; go on after `next`.",
            query: None,
            body: Some(schema::<ReplayQuery>),
            answer: says::<ReplayDone>(),
            route: || post(replay),
        },
        Operation {
            method: "get",
            path: "/trace/{id}",
            name: "trace",
            summary: "Where an event is: received when, delivered to where, how often tried, dead-lettered why and at which step.",
            query: Some(schema::<TraceQuery>),
            body: None,
            answer: says::<Trace>(),
            route: || get(trace),
        },
        Operation {
            method: "get",
            path: "/log",
            name: "readLog",
            summary: "Events of the embedded log, each a structured-mode CloudEvent on a line of its own with its position as `logposition`.",
            query: Some(schema::<LogQuery>),
            body: None,
            answer: Said::Lines,
            route: || get(log),
        },
    ]
}

/// The router of all operations.
pub(super) fn router(gateway: Shared) -> Router {
    let routes = operations()
        .into_iter()
        .fold(Router::new(), |router, operation| {
            router.route(&format!("/api/v1{}", operation.path), (operation.route)())
        });
    routes.with_state(gateway)
}

fn schema<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

fn says<T: JsonSchema>() -> Said {
    Said::Json(schema::<T>)
}

fn json<T: Serialize>(answer: Result<T, GatewayError>) -> Response {
    match answer {
        Ok(answer) => Json(answer).into_response(),
        Err(error) => error.into_response(),
    }
}

fn nothing(answer: Result<(), GatewayError>) -> Response {
    match answer {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(error) => error.into_response(),
    }
}

fn act(action: SourceAction) -> MethodRouter<Shared> {
    post(
        move |State(gateway): State<Shared>, Path(source): Path<String>| async move {
            nothing(gateway.act(&source, action).await)
        },
    )
}

async fn snapshot(
    State(gateway): State<Shared>,
    Path(source): Path<String>,
    body: Bytes,
) -> Response {
    match read::<Snapshot>(&body).and_then(|snapshot| to_value(&snapshot)) {
        Ok(arguments) => json(gateway.control(&source, "snapshot", arguments).await),
        Err(error) => error.into_response(),
    }
}

async fn control(
    State(gateway): State<Shared>,
    Path((source, action)): Path<(String, String)>,
    body: Bytes,
) -> Response {
    match read::<serde_json::Map<String, serde_json::Value>>(&body) {
        Ok(arguments) => json(gateway.control(&source, &action, arguments.into()).await),
        Err(error) => error.into_response(),
    }
}

fn act_on_letters(action: LetterAction) -> MethodRouter<Shared> {
    post(
        move |State(gateway): State<Shared>, body: Bytes| async move {
            match read::<DeadLetterQuery>(&body) {
                Ok(query) => json(gateway.act_on_dead_letters(action, &query).await),
                Err(error) => error.into_response(),
            }
        },
    )
}

async fn set_checkpoint(State(gateway): State<Shared>, body: Bytes) -> Response {
    match read::<NewPosition>(&body) {
        Ok(position) => nothing(gateway.set_checkpoint(&position).await),
        Err(error) => error.into_response(),
    }
}

async fn trace(
    State(gateway): State<Shared>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Response {
    match read_query::<TraceQuery>(query) {
        Ok(query) => json(gateway.trace(&id, &query).await),
        Err(error) => error.into_response(),
    }
}

async fn replay(State(gateway): State<Shared>, body: Bytes) -> Response {
    match read::<ReplayQuery>(&body) {
        Ok(query) => json(gateway.replay(&query).await),
        Err(error) => error.into_response(),
    }
}

async fn log(State(gateway): State<Shared>, RawQuery(query): RawQuery) -> Response {
    let query: LogQuery = match read_query(query) {
        Ok(query) => query,
        Err(error) => return error.into_response(),
    };
    match gateway.log(&query).await {
        Ok(lines) => {
            let lines = lines.map_ok(|mut line| {
                line.push('\n');
                Bytes::from(line)
            });
            let body = Body::from_stream(
                lines
                    .map_err(|error| axum::Error::new(error.to_string()))
                    .boxed(),
            );
            ([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response()
        }
        Err(error) => error.into_response(),
    }
}

fn with_query<'a, Q, T, F>(
    query: Option<String>,
    ask: impl FnOnce(Q) -> F + Send + 'a,
) -> BoxFuture<'a, Response>
where
    Q: DeserializeOwned + Send + 'a,
    T: Serialize,
    F: Future<Output = Result<T, GatewayError>> + Send + 'a,
{
    async move {
        match read_query::<Q>(query) {
            Ok(query) => json(ask(query).await),
            Err(error) => error.into_response(),
        }
    }
    .boxed()
}

fn read_query<Q: DeserializeOwned>(query: Option<String>) -> Result<Q, GatewayError> {
    serde_urlencoded::from_str(&query.unwrap_or_default()).map_err(|error| {
        GatewayError::Invalid(format!(
            "the query is not understood: {error}; see /api/v1/openapi.json"
        ))
    })
}

/// An absent body counts as an empty object.
fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, GatewayError> {
    let body = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(body).map_err(|error| {
        GatewayError::Invalid(format!(
            "the body is not understood: {error}; see /api/v1/openapi.json"
        ))
    })
}

fn to_value<T: Serialize>(value: &T) -> Result<serde_json::Value, GatewayError> {
    serde_json::to_value(value).map_err(|error| GatewayError::Invalid(error.to_string()))
}
