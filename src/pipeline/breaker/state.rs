//! The breaker itself.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use headgate_sdk::{
    Str,
    status::{State, Status},
};
use tokio::{sync::Notify, time::Instant};

use super::{Config, budget::Budget};

/// The least time between two probes of an open breaker.
const PROBE_EVERY: Duration = Duration::from_secs(1);

/// A sink's circuit breaker.
pub struct Breaker {
    config: Config,
    status: Status,
    inner: Mutex<Inner>,
    /// It closed, or the probe under way ended.
    changed: Notify,
    budget: Budget,
    figures: Figures,
}

struct Figures {
    /// One for each state: 1 for the present one.
    states: [metrics::Gauge; 3],
    opened: metrics::Counter,
    probes: metrics::Counter,
    first: metrics::Counter,
    again: metrics::Counter,
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
    /// The probe under way, by its number.
    probing: Option<u64>,
    probes: u64,
}

/// What a breaker is, for people and metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BreakerState {
    /// Calls pass.
    Closed,
    /// A probe is under way; says why it opened.
    HalfOpen(Str),
    /// Nothing passes until the next probe; says why.
    Open(Str),
}

impl BreakerState {
    /// The words for all states, in the order of the metric.
    pub const WORDS: [&'static str; 3] = ["closed", "half_open", "open"];

    /// The word for it.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        Self::WORDS[self.index()]
    }

    const fn index(&self) -> usize {
        match self {
            Self::Closed => 0,
            Self::HalfOpen(_) => 1,
            Self::Open(_) => 2,
        }
    }
}

/// Leave to make one call. Dropped without an outcome, it lets the next probe go.
pub struct Admission {
    breaker: Arc<Breaker>,
    probe: Option<u64>,
}

impl Drop for Admission {
    fn drop(&mut self) {
        if let Some(probe) = self.probe {
            self.breaker.probe_ended(probe);
        }
    }
}

impl Breaker {
    /// A closed breaker that shows its state on `status`.
    #[must_use]
    pub fn new(sink: &str, config: Config, status: Status) -> Self {
        let counter = |name: &'static str| metrics::counter!(name, "sink" => sink.to_owned());
        let figures = Figures {
            states: BreakerState::WORDS.map(|state| {
                metrics::gauge!("headgate_sink_breaker_state", "sink" => sink.to_owned(), "state" => state)
            }),
            opened: counter("headgate_sink_breaker_opened_total"),
            probes: counter("headgate_sink_probes_total"),
            first: counter("headgate_sink_first_attempts_total"),
            again: counter("headgate_sink_retries_total"),
        };
        let breaker = Self {
            budget: Budget::new(config.budget),
            config,
            status,
            inner: Mutex::new(Inner {
                failures: 0,
                failing_since: None,
                open: None,
            }),
            changed: Notify::new(),
            figures,
        };
        breaker.show(&BreakerState::Closed);
        breaker
    }

    /// Waits until a call may be made: at once while closed, else until it closes or this call is the next probe. Cancel safe.
    pub async fn admit(self: &Arc<Self>) -> Admission {
        loop {
            let changed = self.changed.notified();
            let wait_until = match &mut self.lock().open {
                None => return self.admission(None),
                Some(open) => {
                    let now = Instant::now();
                    match (open.probing, now >= open.next_probe) {
                        (Some(_), _) => None,
                        (None, false) => Some(open.next_probe),
                        (None, true) => {
                            open.next_probe = now + PROBE_EVERY;
                            open.probes += 1;
                            open.probing = Some(open.probes);
                            self.figures.probes.increment(1);
                            self.show(&BreakerState::HalfOpen(Str::default()));
                            return self.admission(open.probing);
                        }
                    }
                }
            };
            match wait_until {
                None => changed.await,
                Some(at) => tokio::select! {
                    () = changed => {}
                    () = tokio::time::sleep_until(at) => {}
                },
            }
        }
    }

    fn admission(self: &Arc<Self>, probe: Option<u64>) -> Admission {
        Admission {
            breaker: Arc::clone(self),
            probe,
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
        self.show(&BreakerState::Closed);
        self.status.set(State::Ready);
        self.changed.notify_waiters();
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

    /// Opens at once. What was under way as a probe counts as failed.
    pub fn trip(&self, why: &str) {
        let mut inner = self.lock();
        match &mut inner.open {
            None => {
                tracing::warn!(why, "circuit breaker opens");
                self.figures.opened.increment(1);
                inner.open = Some(Open {
                    why: why.into(),
                    next_probe: Instant::now() + PROBE_EVERY,
                    probing: None,
                    probes: 0,
                });
            }
            Some(open) => {
                open.why = why.into();
                open.probing = None;
            }
        }
        drop(inner);
        self.opened(why);
    }

    /// A batch is sent for the first time.
    pub(in crate::pipeline) fn first_attempt(&self) {
        self.figures.first.increment(1);
        self.budget.earn();
    }

    /// A batch is sent again.
    pub(in crate::pipeline) fn sent_again(&self) {
        self.figures.again.increment(1);
        self.budget.spend();
    }

    /// Whether the budget covers another repetition; if not, and the sink is not known to work again, this opens.
    pub(in crate::pipeline) fn may_send_again(&self) -> bool {
        let covered = self.budget.covers_one();
        if !covered && matches!(self.state(), BreakerState::Closed) {
            self.trip("too much had to be sent again: the retry budget is used up");
        }
        covered
    }

    /// Whether the budget covers another repetition.
    pub(in crate::pipeline) fn budget_left(&self) -> bool {
        self.budget.covers_one()
    }

    /// Its state.
    #[must_use]
    pub fn state(&self) -> BreakerState {
        match &self.lock().open {
            None => BreakerState::Closed,
            Some(open) if open.probing.is_some() => BreakerState::HalfOpen(open.why.clone()),
            Some(open) => BreakerState::Open(open.why.clone()),
        }
    }

    /// Its limits.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The probe is over, whatever came of it.
    fn probe_ended(&self, probe: u64) {
        let mut inner = self.lock();
        let Some(open) = &mut inner.open else { return };
        if open.probing != Some(probe) {
            return;
        }
        open.probing = None;
        let why = open.why.clone();
        drop(inner);
        self.opened(&why);
    }

    fn opened(&self, why: &str) {
        self.show(&BreakerState::Open(Str::default()));
        self.status
            .set(State::Waiting(format!("circuit breaker open: {why}")));
        self.changed.notify_waiters();
    }

    fn show(&self, state: &BreakerState) {
        for (index, gauge) in self.figures.states.iter().enumerate() {
            gauge.set(if index == state.index() { 1.0 } else { 0.0 });
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
