//! What a sink answers: accepted at once, the outcome later.

use std::{
    error::Error,
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use futures::future::BoxFuture;
use headgate_sdk::Str;
use tokio::sync::oneshot;

/// A batch that was accepted: the future of its outcome. Dropping it does not take the batch back.
#[must_use = "the outcome says whether the batch is durable"]
pub struct Accepted(Inner);

enum Inner {
    Known(Option<Outcome>),
    Reply(oneshot::Receiver<Outcome>),
    Future(BoxFuture<'static, Outcome>),
}

impl Accepted {
    /// An outcome known already.
    pub fn known(outcome: Outcome) -> Self {
        Self(Inner::Known(Some(outcome)))
    }

    /// An outcome that a writer will send; if it is dropped unsent, the outcome is retriable.
    pub fn reply(reply: oneshot::Receiver<Outcome>) -> Self {
        Self(Inner::Reply(reply))
    }

    /// An outcome that a future finds out.
    pub fn future(outcome: impl Future<Output = Outcome> + Send + 'static) -> Self {
        Self(Inner::Future(Box::pin(outcome)))
    }
}

impl Future for Accepted {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        match &mut self.0 {
            Inner::Known(outcome) => {
                Poll::Ready(outcome.take().expect("not polled after it was ready"))
            }
            Inner::Reply(reply) => Pin::new(reply).poll(cx).map(|sent| {
                sent.unwrap_or_else(|_| {
                    Outcome::Retriable(SinkError::new("the writer ended before it answered"))
                })
            }),
            Inner::Future(future) => future.as_mut().poll(cx),
        }
    }
}

impl fmt::Debug for Accepted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Accepted")
    }
}

/// What became of a batch. The variant says what happens next.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// All of it is durable.
    Durable,
    /// Nothing is known to be durable; everything from this batch on is sent again, in order, for as long as it takes.
    Retriable(SinkError),
    /// These records can never be written; they become dead letters. All others are durable.
    Rejected(Vec<Rejection>),
}

/// A record that a sink refuses for good.
#[derive(Debug, Clone)]
pub struct Rejection {
    /// Its index in [`SinkBatch::records`](super::SinkBatch::records).
    pub index: usize,
    /// A stable word: `too_large`, `invalid_topic`, ….
    pub reason: Str,
    /// A sentence that says what to do.
    pub message: Str,
}

/// What a sink says when it cannot, in one line with the remedy.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct SinkError {
    message: Str,
    #[source]
    source: Option<std::sync::Arc<dyn Error + Send + Sync>>,
}

impl SinkError {
    /// An error without a cause of its own.
    pub fn new(message: impl Into<Str>) -> Self {
        Self {
            message: message.into(),
            source: None,
        }
    }

    /// An error with its cause.
    pub fn caused(message: impl Into<Str>, source: impl Error + Send + Sync + 'static) -> Self {
        Self {
            message: message.into(),
            source: Some(std::sync::Arc::new(source)),
        }
    }
}
