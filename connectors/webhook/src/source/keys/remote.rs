//! Fetching and remembering.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use headgate_sdk::Timestamp;
use rustls::RootCertStore;
use tokio_util::task::TaskTracker;

use super::chain;
use crate::{
    client::{Client, Net},
    verify::{Draft, KeyLookup, KeyRequest, PublicKeys, Published},
};

/// How many places are remembered.
const MAX_PLACES: usize = 64;
/// The longest document.
const MAX_DOCUMENT_BYTES: usize = 256 * 1024;

/// How often strangers may make us ask.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// How long fetched keys are used without asking again.
    pub(super) fresh: Duration,
    /// How long they are used while their vendor does not answer.
    pub(super) stale: Duration,
    /// How soon a place is asked again for a name that it did not have, and at the latest after failures.
    pub(super) again: Duration,
    /// How soon it is asked again after a first failure; the pause doubles with each.
    pub(super) retry: Duration,
    /// How long a vendor may take.
    pub(super) within: Duration,
    /// Fetches of a source in a minute.
    pub(super) per_minute: u32,
}

impl Pace {
    const USUAL: Self = Self {
        fresh: Duration::from_secs(24 * 3600),
        stale: Duration::from_secs(7 * 24 * 3600),
        again: Duration::from_secs(60),
        retry: Duration::from_secs(5),
        within: Duration::from_secs(5),
        per_minute: 30,
    };
}

/// Fetched keys by place. A clone is another handle.
#[derive(Clone)]
pub(in crate::source) struct Remote {
    client: Client,
    authorities: Arc<RootCertStore>,
    pace: Pace,
    state: Arc<Mutex<State>>,
    /// One fetch at a time: simultaneous requests share its result.
    fetching: Arc<tokio::sync::Mutex<()>>,
    tracker: TaskTracker,
}

#[derive(Default)]
struct State {
    places: HashMap<String, Place>,
    /// Since when fetches are counted, and how many there were.
    counted: Option<(Instant, u32)>,
}

struct Place {
    /// What was found, and when.
    found: Option<(Arc<PublicKeys>, Instant)>,
    /// When it was asked last, and how often in vain since it answered.
    asked: Instant,
    failures: u32,
}

impl Remote {
    /// Nothing is fetched yet. Fetches under way are `tracker`'s.
    pub(in crate::source) fn new(net: &Net, tracker: TaskTracker) -> Result<Self, String> {
        Self::with_pace(net, tracker, Pace::USUAL)
    }

    pub(super) fn with_pace(net: &Net, tracker: TaskTracker, pace: Pace) -> Result<Self, String> {
        Ok(Self {
            client: Client::new(net)?,
            authorities: Arc::clone(&net.authorities),
            pace,
            state: Arc::default(),
            fetching: Arc::default(),
            tracker,
        })
    }

    pub(in crate::source) fn client(&self) -> &Client {
        &self.client
    }

    /// Fetches the keys unless somebody just did. `params` hold what the vendor asks for (Plaid's client id and secret). Dropped,
    /// the fetch goes on: a sender in a hurry does not keep the next one from its keys.
    pub(in crate::source) async fn fetch(
        &self,
        request: &KeyRequest,
        params: &BTreeMap<String, String>,
    ) -> Result<(), String> {
        let one = Arc::clone(&self.fetching).lock_owned();
        let one = tokio::time::timeout(self.pace.within, one)
            .await
            .map_err(|_| "other keys are being fetched, and it takes long".to_owned())?;
        if self.lookup(request).is_some() {
            return Ok(());
        }
        self.state().ask(request, &self.pace)?;
        let (this, request, params) = (self.clone(), request.clone(), params.clone());
        let fetched = self.tracker.spawn(async move {
            let outcome = this.get(&request, &params).await;
            this.state().remember(&request, &outcome);
            drop(one);
            match outcome {
                Err(error) if this.lookup(&request).is_none() => Err(error),
                Err(error) => {
                    tracing::warn!(
                        error,
                        "keys could not be fetched again: those known are used"
                    );
                    Ok(())
                }
                Ok(_) => Ok(()),
            }
        });
        fetched
            .await
            .unwrap_or_else(|_| Err("the fetch was broken off".into()))
    }

    async fn get(
        &self,
        request: &KeyRequest,
        params: &BTreeMap<String, String>,
    ) -> Result<PublicKeys, String> {
        let url = &request.url;
        if !url.starts_with("https://") {
            return Err(format!("{url} is not https"));
        }
        let draft = match request.published {
            Published::KeyById => by_id(request, params),
            Published::Document | Published::CertificateOf(_) => Draft {
                method: "GET".into(),
                url: Some(url.clone()),
                ..Draft::default()
            },
        };
        let answer = self
            .client
            .send_within(&draft, self.pace.within, MAX_DOCUMENT_BYTES)
            .await?;
        if !answer.status.is_success() {
            return Err(format!("{url} answered {}", answer.status));
        }
        let now = Timestamp::now();
        let keys = match request.published {
            Published::CertificateOf(domain) => {
                chain::key(&answer.body, domain, &self.authorities, now)
            }
            Published::Document | Published::KeyById => std::str::from_utf8(&answer.body)
                .map_err(|_| "it is no text".to_owned())
                .and_then(|text| PublicKeys::parse(text, None)),
        }
        .map_err(|error| format!("{url}: {error}"))?;
        match keys.valid_at(now) {
            true => Ok(keys),
            false => Err(format!("the certificate at {url} is outside its validity")),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl KeyLookup for Remote {
    fn lookup(&self, request: &KeyRequest) -> Option<Arc<PublicKeys>> {
        let state = self.state();
        let place = state.places.get(&place(request))?;
        let (keys, at) = place.found.as_ref()?;
        let (age, since) = (at.elapsed(), place.asked.elapsed());
        let excused =
            place.failures > 0 && age < self.pace.stale && since < self.pace.pause(place.failures);
        let usable = age < self.pace.fresh || excused;
        // An unknown name may be a key that was added since. It is known to be none only if the vendor just said so.
        let known =
            keys.has(request.kid.as_deref()) || (place.failures == 0 && since < self.pace.again);
        let valid = keys.valid_at(Timestamp::now());
        (usable && known && valid).then(|| Arc::clone(keys))
    }
}

impl Pace {
    fn pause(&self, failures: u32) -> Duration {
        let doubled = 2_u32.saturating_pow(failures.saturating_sub(1));
        self.retry.saturating_mul(doubled).min(self.again)
    }
}

impl State {
    /// Counts a fetch, if one may be made.
    fn ask(&mut self, request: &KeyRequest, pace: &Pace) -> Result<(), String> {
        let (name, now) = (place(request), Instant::now());
        if let Some(known) = self.places.get(&name)
            && known.failures > 0
            && known.asked.elapsed() < pace.pause(known.failures)
        {
            return Err("the vendor's key could not be fetched a moment ago".into());
        }
        let (since, count) = self.counted.get_or_insert((now, 0));
        if since.elapsed() >= Duration::from_secs(60) {
            (*since, *count) = (now, 0);
        }
        if *count >= pace.per_minute {
            return Err("too many keys were asked for in a minute".into());
        }
        *count += 1;
        Ok(())
    }

    fn remember(&mut self, request: &KeyRequest, outcome: &Result<PublicKeys, String>) {
        let (name, now) = (place(request), Instant::now());
        if !self.places.contains_key(&name) && self.places.len() >= MAX_PLACES {
            self.forget_one();
        }
        let place = self.places.entry(name).or_insert(Place {
            found: None,
            asked: now,
            failures: 0,
        });
        place.asked = now;
        match outcome {
            Ok(keys) => {
                place.found = Some((Arc::new(keys.clone()), now));
                place.failures = 0;
            }
            Err(_) => place.failures = place.failures.saturating_add(1),
        }
    }

    /// Places that never had a key go first: strangers can name as many of them as they like.
    fn forget_one(&mut self) {
        let oldest = self
            .places
            .iter()
            .min_by_key(|(_, place)| (place.found.is_some(), place.asked))
            .map(|(name, _)| name.clone());
        if let Some(oldest) = oldest {
            self.places.remove(&oldest);
        }
    }
}

/// Under which name the keys are remembered: one key each, or a whole document.
fn place(request: &KeyRequest) -> String {
    match (&request.kid, request.published) {
        (Some(kid), Published::KeyById) => format!("{}#{kid}", request.url),
        _ => request.url.clone(),
    }
}

/// What Plaid wants to see (plaid.com/docs/api/webhooks/webhook-verification).
fn by_id(request: &KeyRequest, params: &BTreeMap<String, String>) -> Draft {
    let body = serde_json::json!({
        "client_id": params.get("client_id"),
        "secret": params.get("secret"),
        "key_id": request.kid,
    });
    Draft {
        method: "POST".into(),
        url: Some(request.url.clone()),
        body: body.to_string().into_bytes(),
        ..Draft::default()
    }
}
