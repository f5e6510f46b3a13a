//! All layers, in order: the one place where a stack is built.

use std::sync::Arc;

use headgate_sdk::{
    LaneId, Str,
    admission::{self, Admission},
};
use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::{Layer, ServiceBuilder, util::BoxService};

use super::{
    LayerStates, PipelineService, Step,
    breaker::{Breaker, BreakerLayer},
    dead_letter::{DeadLetterLayer, DeadLetterWriter},
    dedup::{self, DedupLayer},
    deliver::{Deliver, LaneOutlet, UNSETTLED_BATCHES},
    rate_limit::{self, Door, RateLimitLayer},
    retry::RetryLayer,
    route::{self, HotKeys, RouteLayer},
    share::{Priority, Share, ShareLayer},
    step::{Chain, EventStep, StepLayer},
    timeout::TimeoutLayer,
};
use crate::sink::{Sink, SinkError};

/// A pipeline that was loaded: immutable, shared by all lanes that use it.
#[derive(Debug, Clone)]
pub struct PipelinePlan {
    /// Its name in the configuration.
    pub name: Str,
    /// Its steps with their names.
    steps: Arc<[(Str, Step)]>,
    /// How urgent the events of the source are that it serves.
    pub priority: Priority,
}

/// A sink as lanes see it.
#[derive(Clone)]
pub struct SinkPlan {
    /// The sink.
    pub sink: Arc<dyn Sink>,
    /// Its breaker, shared by all lanes.
    pub breaker: Arc<Breaker>,
    /// The breaker of the sink behind a buffer, which is the one to show then.
    pub behind: Option<Arc<Breaker>>,
    /// When a missing outcome opens the breaker.
    pub timeout: std::time::Duration,
    /// Whether lanes wait for it.
    pub required: bool,
    /// Bytes that it may hold if nobody waits for it.
    pub queue: Arc<Semaphore>,
    /// Bytes that may be under way to it, divided among lanes by priority.
    pub share: Share,
}

impl SinkPlan {
    /// The breaker that says how the sink is.
    #[must_use]
    pub fn shown_breaker(&self) -> &Breaker {
        self.behind.as_ref().unwrap_or(&self.breaker)
    }
}

/// What all stacks of a gateway share.
#[derive(Clone)]
pub struct StackContext {
    /// All sinks, in the order of their indices.
    pub sinks: Arc<[SinkPlan]>,
    /// Where dead letters go that no sink keeps.
    pub dead_letters: Arc<dyn DeadLetterWriter>,
    /// What layers remember.
    pub states: LayerStates,
    /// Tasks of layers; joined at shutdown.
    pub tasks: TaskTracker,
    /// Ends those tasks when the deadline of a shutdown has passed.
    pub abandon: CancellationToken,
}

/// Steps that look at one event after another, and one behind them that looks at the batch.
#[derive(Default)]
struct Row<'a> {
    each_event: Vec<Arc<dyn EventStep>>,
    last: Option<(&'a Str, &'a Step)>,
}

impl PipelinePlan {
    /// A plan of `steps`.
    #[must_use]
    pub fn new(name: impl Into<Str>, steps: &[Step]) -> Self {
        let kind = std::mem::discriminant::<Step>;
        let named = steps.iter().enumerate().map(|(at, step)| {
            let earlier = steps[..at]
                .iter()
                .filter(|other| kind(other) == kind(step))
                .count();
            (Str::from(step.name(earlier)), step.clone())
        });
        Self {
            name: name.into(),
            steps: named.collect(),
            priority: Priority::default(),
        }
    }

    /// The same for a source of this priority.
    #[must_use]
    pub fn with_priority(mut self, priority: Priority) -> Self {
        self.priority = priority;
        self
    }

    /// Builds the steps in front of a lane's ways into the sinks.
    #[must_use]
    pub fn build(&self, deliver: Deliver, cx: &StackContext) -> PipelineService {
        // From the sinks outwards: the last step is wrapped first.
        let names: Vec<Str> = cx
            .sinks
            .iter()
            .map(|plan| plan.sink.name().clone())
            .collect();
        let (route_step, route) = self.route();
        let mut routing = RouteLayer::new(&route, route_step.clone(), &names);
        if route.hot_key_percent < 100 {
            routing = routing.watching(self.hot_keys(&route, &route_step, cx));
        }
        let mut rows = self.rows();
        routing = routing.behind(Chain::new(
            rows.pop().map(|row| row.each_event).unwrap_or_default(),
        ));
        let mut stack = BoxService::new(routing.layer(deliver));
        for Row { each_event, last } in rows.into_iter().rev() {
            stack = match last {
                Some((name, Step::Dedup(config))) => {
                    let dedup = self.dedup(config, name, &cx.states).behind(each_event);
                    BoxService::new(dedup.layer(stack))
                }
                Some((name, Step::RateLimit(config))) => {
                    let limit = self.rate_limit(config, name, cx);
                    let steps = StepLayer::new(Chain::new(each_event));
                    BoxService::new(steps.layer(limit.layer(stack)))
                }
                _ => stack,
            };
        }
        stack
    }

    /// The steps as they are run: rows of those that look at one event after another, up to one that looks at the batch. The last
    /// row ends with the route.
    fn rows(&self) -> Vec<Row<'_>> {
        let mut rows = vec![Row::default()];
        for (name, step) in self.steps.iter() {
            let row = rows.last_mut().expect("there is always one");
            match (step, step.event_step(name)) {
                // filter, transform, set, remove, rename, keep_fields, redact, validate, max_age, max_hops
                (_, Some(each_event)) => row.each_event.push(each_event),
                (Step::Dedup(_) | Step::RateLimit(_), None) => {
                    row.last = Some((name, step));
                    rows.push(Row::default());
                }
                (_, None) => {}
            }
        }
        rows
    }

    /// The limits that a push source asks before it reads a body.
    #[must_use]
    pub fn admission(&self, source: &Str, cx: &StackContext) -> Admission {
        let limits: Vec<_> = self
            .steps
            .iter()
            .filter_map(|(name, step)| match step {
                Step::RateLimit(config) if config.on_limit == rate_limit::OnLimit::Reject => {
                    let limiter = Arc::clone(self.rate_limit(config, name, cx).limiter());
                    Some((name.clone(), config.per.clone(), limiter))
                }
                _ => None,
            })
            .collect();
        if limits.is_empty() {
            return Admission::unlimited();
        }
        let door: Arc<dyn admission::Limiter> = Arc::new(Door::new(source.clone(), limits));
        Admission::new(door)
    }

    fn rate_limit(
        &self,
        config: &rate_limit::Config,
        name: &Str,
        cx: &StackContext,
    ) -> RateLimitLayer {
        RateLimitLayer::new(
            config,
            name.clone(),
            &cx.states,
            &format!("{}/{name}", self.name),
        )
    }

    /// The steps that look at one event after another, by name and in order, with state in `states`: what a trial runs without
    /// sinks behind it. Limits are not among them.
    #[must_use]
    pub fn event_steps(&self, states: &LayerStates) -> Vec<(Str, Chain)> {
        let steps = self.steps.iter();
        steps
            .filter_map(|(name, step)| {
                let each_event: Arc<dyn EventStep> = match step {
                    Step::Dedup(config) => self.dedup(config, name, states).step(),
                    step => step.event_step(name)?,
                };
                Some((name.clone(), each_event.into()))
            })
            .collect()
    }

    fn dedup(&self, config: &dedup::Config, name: &Str, states: &LayerStates) -> DedupLayer {
        DedupLayer::new(
            config,
            name.clone(),
            states,
            &format!("{}/{name}", self.name),
        )
    }

    fn hot_keys(&self, route: &route::Config, step: &Str, cx: &StackContext) -> Arc<HotKeys> {
        let sinks = || {
            cx.sinks
                .iter()
                .map(|plan| plan.sink.status().clone())
                .collect()
        };
        cx.states.get(
            &format!("{}/{step}", self.name),
            |known: &HotKeys| known.has_percent(route.hot_key_percent),
            || HotKeys::new(route.hot_key_percent, sinks()),
        )
    }

    /// The route step, or the defaults.
    #[must_use]
    pub fn route(&self) -> (Str, route::Config) {
        let configured = self.steps.iter().find_map(|(name, step)| match step {
            Step::Route(config) => Some((name.clone(), config.clone())),
            _ => None,
        });
        configured.unwrap_or_else(|| ("route".into(), route::Config::default()))
    }
}

/// A lane's ways into all sinks: the end of its pipeline, built once for the lane.
#[must_use]
pub fn deliver(lane: &LaneId, shard: u32, priority: Priority, cx: &StackContext) -> Deliver {
    let outlets = cx
        .sinks
        .iter()
        .map(|plan| outlet(plan, lane, shard, priority, cx))
        .collect();
    Deliver::new(
        outlets,
        Arc::clone(&cx.dead_letters),
        cx.states.clone(),
        cx.tasks.clone(),
        cx.abandon.clone(),
    )
}

/// Waits until the sink that keeps the lane's checkpoint, if one does, has brought it into the index. Cancel safe.
///
/// # Errors
/// The lane must not go on until a person acts.
pub async fn prepare(lane: &LaneId, shard: u32, cx: &StackContext) -> Result<(), SinkError> {
    let mut required = cx.sinks.iter().filter(|plan| plan.required);
    match (required.next(), required.next()) {
        (Some(only), None) if only.sink.keeps().checkpoints => only.sink.prepare(lane, shard).await,
        _ => Ok(()),
    }
}

/// Resolves, with the reason, when another process has the lane's place in the sink that keeps its checkpoint.
pub async fn lost(lane: &LaneId, shard: u32, cx: &StackContext) -> Str {
    let mut required = cx.sinks.iter().filter(|plan| plan.required);
    match (required.next(), required.next()) {
        (Some(only), None) if only.sink.keeps().checkpoints => only.sink.lost(lane, shard).await,
        _ => std::future::pending().await,
    }
}

/// The stack in front of one sink, for one lane.
#[must_use]
pub fn outlet(
    plan: &SinkPlan,
    lane: &LaneId,
    shard: u32,
    priority: Priority,
    cx: &StackContext,
) -> LaneOutlet {
    let queue = (!plan.required).then(|| Arc::clone(&plan.queue));
    let service = ServiceBuilder::new()
        // What the sink refuses for good becomes a dead letter, and then counts as durable.
        .layer(DeadLetterLayer::new(
            plan.sink.name(),
            Arc::clone(&cx.dead_letters),
            cx.states.clone(),
        ))
        // Holds everything until it is durable and sends it again, in order.
        .layer(
            RetryLayer::new(
                Arc::clone(&plan.breaker),
                queue,
                cx.tasks.clone(),
                cx.abandon.clone(),
            )
            .noting(plan.sink.name(), cx.states.ledger()),
        )
        // Lets no more than a probe a second through to a failing sink.
        .layer(BreakerLayer::new(Arc::clone(&plan.breaker)))
        // Where lanes compete, each class has its part.
        .layer(ShareLayer::new(plan.share.clone(), priority))
        // An outcome that is late opens the breaker.
        .layer(TimeoutLayer::new(plan.timeout, Arc::clone(&plan.breaker)))
        .service(plan.sink.open_lane(lane, shard));
    LaneOutlet {
        service: BoxService::new(service),
        sink: plan.sink.name().clone(),
        required: plan.required,
        keeps: plan.sink.keeps(),
        max_event_bytes: plan.sink.max_event_bytes(),
        unsettled: Arc::new(Semaphore::new(UNSETTLED_BATCHES)),
    }
}
