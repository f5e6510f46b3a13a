//! The breaker itself.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use headgate_sdk::{
    Str,
    status::{State, Status},
};
use tokio::{sync::Notify, time::Instant};

use super::Config;

/// The least time between two probes of an open breaker.
const PROBE_EVERY: Duration = Duration::from_secs(1);

/// A sink's circuit breaker.
pub struct Breaker {
    config: Config,
    status: Status,
    inner: Mutex<Inner>,
    closed: Notify,
    gauge: metrics::Gauge,
}

#[derive(Debug)]
struct Inner {
    failures: u32,
    failing_since: Option<Instant>,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    why: Str,
    next_probe: Instant,
}

/// What a breaker is, for people and metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BreakerState {
    /// Calls pass.
    Closed,
    /// Only probes pass; says why.
    Open(Str),
}

impl Breaker {
    /// A closed breaker that shows its state on `status`.
    #[must_use]
    pub fn new(sink: &str, config: Config, status: Status) -> Self {
        let gauge = metrics::gauge!("headgate_sink_breaker_open", "sink" => sink.to_owned());
        let inner = Mutex::new(Inner {
            failures: 0,
            failing_since: None,
            open: None,
        });
        Self {
            config,
            status,
            inner,
            closed: Notify::new(),
            gauge,
        }
    }

    /// Waits until a call may be made: at once while closed, else until it closes or this call is the next probe. Cancel safe.
    pub async fn admit(&self) {
        loop {
            let closed = self.closed.notified();
            let probe_at = match &mut self.lock().open {
                None => return,
                Some(open) => {
                    let now = Instant::now();
                    if now >= open.next_probe {
                        open.next_probe = now + PROBE_EVERY;
                        return;
                    }
                    open.next_probe
                }
            };
            tokio::select! {
                () = closed => {}
                () = tokio::time::sleep_until(probe_at) => {}
            }
        }
    }

    /// A call succeeded: closes.
    pub fn succeeded(&self) {
        let mut inner = self.lock();
        if inner.failures == 0 && inner.open.is_none() {
            return;
        }
        *inner = Inner {
            failures: 0,
            failing_since: None,
            open: None,
        };
        drop(inner);
        self.gauge.set(0.0);
        self.status.set(State::Ready);
        self.closed.notify_waiters();
    }

    /// A call failed: opens when the limits are reached.
    pub fn failed(&self, why: &str) {
        let mut inner = self.lock();
        inner.failures = inner.failures.saturating_add(1);
        let since = *inner.failing_since.get_or_insert_with(Instant::now);
        let over =
            inner.failures >= self.config.attempts || since.elapsed() >= self.config.total.get();
        drop(inner);
        if over {
            self.trip(why);
        }
    }

    /// Opens at once.
    pub fn trip(&self, why: &str) {
        let mut inner = self.lock();
        if inner.open.is_none() {
            tracing::warn!(why, "circuit breaker opens");
            inner.open = Some(Open {
                why: why.into(),
                next_probe: Instant::now() + PROBE_EVERY,
            });
        } else if let Some(open) = &mut inner.open {
            open.why = why.into();
        }
        drop(inner);
        self.gauge.set(1.0);
        self.status
            .set(State::Waiting(format!("circuit breaker open: {why}")));
    }

    /// Its state.
    #[must_use]
    pub fn state(&self) -> BreakerState {
        match &self.lock().open {
            None => BreakerState::Closed,
            Some(open) => BreakerState::Open(open.why.clone()),
        }
    }

    /// Its limits.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
