//! One endpoint of a source (its own, or a tenant's): keys, limits, and the way onto its lane.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use headgate_sdk::{
    Batch, DeliveryError, Lane, Str, Timestamp, admission::Admission, blobs::BlobStore,
};
use http::Method;
use ipnet::IpNet;
use tokio_util::task::TaskTracker;

use super::{
    Acknowledge, Config, DedupFrom, address,
    crowd::Crowd,
    dedup::{Arrival, Claim, Seen},
    event::Identified,
    failures::Failures,
    handshake::Learned,
    keys::Remote,
    quarantine::Quarantine,
    within::within,
};
use crate::{
    presets::{Handshake, Preset},
    verify::{Failure, Incoming, Reason, Verified, Verifier},
};

/// Everything that answers requests of one path.
pub(super) struct Endpoint {
    pub(super) config: Arc<Config>,
    pub(super) preset: Option<&'static Preset>,
    pub(super) scheme_name: Str,
    pub(super) source_name: Str,
    pub(super) urn: Str,
    pub(super) tenant: Str,
    pub(super) verifier: RwLock<Option<Arc<Verifier>>>,
    pub(super) params: BTreeMap<String, String>,
    pub(super) dedup: DedupFrom,
    pub(super) seen: Arc<Seen>,
    pub(super) lane: Lane,
    pub(super) public_url: Option<String>,
    pub(super) methods: Vec<Method>,
    pub(super) handshakes: Vec<Handshake>,
    pub(super) allow: Vec<IpNet>,
    pub(super) trusted: Vec<IpNet>,
    pub(super) admission: Admission,
    pub(super) failures: Option<Failures>,
    pub(super) crowd: Arc<Crowd>,
    pub(super) remote: Remote,
    pub(super) blobs: Arc<dyn BlobStore>,
    pub(super) quarantine: Arc<Quarantine>,
    pub(super) learned: Arc<Learned>,
    pub(super) tracker: TaskTracker,
    pub(super) unique: UniqueIds,
    pub(super) outcomes: Outcomes,
}

/// How many deliveries came to what: handles, so that a request asks no registry.
pub(super) struct Outcomes {
    pub(super) accepted: metrics::Counter,
    pub(super) repeated: metrics::Counter,
    pub(super) busy: metrics::Counter,
}

impl Outcomes {
    pub(super) fn new(source: &Str) -> Self {
        let counter = |outcome: &'static str| metrics::counter!("headgate_webhook_deliveries_total", "source" => source.to_string(), "outcome" => outcome);
        Self {
            accepted: counter("accepted"),
            repeated: counter("repeated"),
            busy: counter("busy"),
        }
    }
}

/// What became of a request's events.
pub(super) enum Taken {
    /// They are accepted.
    First(Vec<Str>),
    /// All of them were accepted before.
    Repetition(Str),
}

/// Why events cannot be taken now: 503.
#[derive(Debug, thiserror::Error)]
pub(super) enum Busy {
    #[error("the gateway is catching up")]
    NoRoom,
    #[error(transparent)]
    Delivery(#[from] DeliveryError),
}

/// What verification came to.
pub(super) enum Decision {
    Verified(Verified),
    Refused(Reason),
    /// Not decided: 503.
    Undecided(String),
}

/// The URL under which a vendor knows an endpoint. A base of the source's `own` that has a path is taken as it is, any other gets
/// the request's path.
pub(super) fn public_url(base: &str, own: bool, path_and_query: &str) -> String {
    let after = base.find("://").map_or(0, |at| at + 3);
    let has_path = base[after..]
        .find('/')
        .is_some_and(|at| after + at + 1 < base.len());
    if own && has_path {
        return match path_and_query.split_once('?') {
            Some((_, query)) => format!("{base}?{query}"),
            None => base.to_owned(),
        };
    }
    format!("{}{path_and_query}", base.trim_end_matches('/'))
}

impl Endpoint {
    pub(super) fn timeout(&self) -> Duration {
        self.config.timeout.get()
    }

    /// The URL that the vendor addressed: under the configured base, else under the one that a trusted proxy named.
    pub(super) fn url(&self, path_and_query: &str, forwarded: Option<&str>) -> Option<String> {
        let own = self.config.public_url.is_some();
        let base = self.public_url.as_deref().or(forwarded)?;
        Some(public_url(base, own, path_and_query))
    }

    /// Whether the client may send at all.
    pub(super) fn allows(&self, client: IpAddr) -> bool {
        self.allow.is_empty() || address::contains(&self.allow, client)
    }

    /// Verifies; fetches the vendor's key if it takes one that is not at hand.
    pub(super) async fn decide(&self, incoming: &Incoming<'_>, now: Timestamp) -> Decision {
        let verifier = {
            let verifier = self.verifier.read().unwrap_or_else(PoisonError::into_inner);
            verifier.clone()
        };
        let Some(verifier) = verifier else {
            return Decision::Undecided("no secret is known yet".into());
        };
        let mut fetched = false;
        loop {
            match verifier.verify(incoming, now, &self.remote) {
                Ok(verified) => return Decision::Verified(verified),
                Err(Failure::Refused(
                    reason @ (Reason::UrlUnknown | Reason::MissingParameter(_)),
                )) => {
                    return Decision::Undecided(reason.to_string());
                }
                Err(Failure::Refused(reason)) => return Decision::Refused(reason),
                Err(Failure::KeyNeeded(_)) if fetched => {
                    return Decision::Undecided(
                        "the vendor's key is not where the request says".into(),
                    );
                }
                Err(Failure::KeyNeeded(key)) => {
                    if let Err(error) = Box::pin(self.remote.fetch(&key, &self.params)).await {
                        return Decision::Undecided(error);
                    }
                    fetched = true;
                }
            }
        }
    }

    /// Sends events that were not seen before, and waits until they are accepted (or durable). Dropped while waiting, it goes
    /// on by itself: what was sent is settled in any case.
    pub(super) async fn take(&self, events: Identified) -> Result<Taken, Busy> {
        let taken = within(self.timeout(), self.send(events)).await;
        taken.unwrap_or(Err(Busy::NoRoom))
    }

    async fn send(&self, events: Identified) -> Result<Taken, Busy> {
        let now = Timestamp::now();
        let first_id = events.first().map(|(event, _)| event.id.clone());
        let (mut events, keys): (Vec<_>, Vec<_>) = events.into_iter().unzip();
        let mut claims = Vec::new();
        // Claimed in the order of their keys, so that two requests with the same ids never wait for each other.
        let mut keyed: BTreeMap<&str, usize> = BTreeMap::new();
        let mut is_fresh = vec![true; events.len()];
        for (place, key) in keys.iter().enumerate() {
            if let Some(key) = key {
                is_fresh[place] = *keyed.entry(key).or_insert(place) == place;
            }
        }
        for (key, place) in keyed {
            match self.seen.arrive(key, now).await {
                Arrival::First(claim) => claims.push(claim),
                Arrival::Repetition => is_fresh[place] = false,
            }
        }
        let mut fresh = is_fresh.into_iter();
        events.retain(|_| fresh.next().unwrap_or(false));
        if events.is_empty() {
            return Ok(Taken::Repetition(first_id.unwrap_or_default()));
        }
        let ids = events.iter().map(|event| event.id.clone()).collect();
        let batch = Batch {
            events,
            entries: claims.iter().flat_map(Claim::entries).collect(),
            ..Batch::default()
        };
        let permit = self
            .lane
            .reserve(batch.weight())
            .await
            .map_err(|_| DeliveryError::Closed)?;
        let delivery = permit.send(batch);
        let mut settling = Settling {
            claims,
            delivery: Some(delivery),
            durable: match self.config.ack {
                Acknowledge::Journal => None,
                Acknowledge::Sink => Some(self.lane.clone()),
            },
            tracker: self.tracker.clone(),
        };
        settling.outcome().await?;
        Ok(Taken::First(ids))
    }

    /// An id for an event whose vendor sends none: what it is, and which receipt of it.
    pub(super) fn unique_id(&self, body: &[u8]) -> Str {
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.urn.as_bytes());
        hasher.update(&[0]);
        hasher.update(body);
        let hash = hasher.finalize().to_hex();
        self.unique.next(&hash[..32])
    }
}

/// Numbers that no other receipt of this instance has.
pub(super) struct UniqueIds {
    prefix: String,
    next: AtomicU64,
}

impl UniqueIds {
    /// Unique across restarts by the time of the start.
    pub(super) fn new(instance: &str) -> Self {
        let started = Timestamp::now().as_nanosecond();
        Self {
            prefix: format!("{instance}-{started:x}"),
            next: AtomicU64::new(0),
        }
    }

    fn next(&self, hash: &str) -> Str {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        Str::from(format!("{hash}-{}-{number:x}", self.prefix))
    }
}

/// A batch under way with the ids it settles.
struct Settling {
    claims: Vec<Claim>,
    delivery: Option<headgate_sdk::Delivery>,
    /// The lane, if durability is waited for.
    durable: Option<Lane>,
    tracker: TaskTracker,
}

impl Settling {
    async fn outcome(&mut self) -> Result<(), DeliveryError> {
        let outcome = match &mut self.delivery {
            Some(delivery) => reached(delivery, self.durable.as_ref()).await,
            None => Ok(()),
        };
        self.delivery = None;
        for claim in self.claims.drain(..) {
            claim.settle(outcome.is_ok());
        }
        outcome
    }
}

async fn reached(
    delivery: &mut headgate_sdk::Delivery,
    lane: Option<&Lane>,
) -> Result<(), DeliveryError> {
    let number = delivery.accepted().await?;
    match lane {
        None => Ok(()),
        Some(lane) => lane
            .progress()
            .reached(number)
            .await
            .map_err(|_| DeliveryError::Closed),
    }
}

impl Drop for Settling {
    fn drop(&mut self) {
        let Some(mut delivery) = self.delivery.take() else {
            return;
        };
        // The client went away or ran out of time, but the batch goes on: its ids must not be given back before it is known
        // what became of it.
        let claims = std::mem::take(&mut self.claims);
        let lane = self.durable.take();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let _joined_by_the_tracker = self.tracker.spawn_on(
                async move {
                    let outcome = reached(&mut delivery, lane.as_ref()).await;
                    for claim in claims {
                        claim.settle(outcome.is_ok());
                    }
                },
                &runtime,
            );
        }
    }
}
