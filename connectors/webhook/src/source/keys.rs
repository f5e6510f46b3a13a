//! Keys that vendors publish: fetched from their own hosts alone, cached, rotated and bounded.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::{
    client::Client,
    verify::{Draft, KeyLookup, KeyRequest, PublicKeys},
};

/// How long fetched keys are used.
const FRESH: Duration = Duration::from_secs(24 * 3600);
/// How soon a place is asked again, after a failure or for a name that it did not have.
const AGAIN: Duration = Duration::from_secs(60);
/// How many places are remembered.
const MAX_PLACES: usize = 64;
/// How long a vendor may take.
const WITHIN: Duration = Duration::from_secs(5);

/// Fetched keys by place.
pub(super) struct Remote {
    client: Client,
    places: Mutex<HashMap<String, Fetched>>,
    /// One fetch at a time: simultaneous requests share its result.
    fetching: tokio::sync::Mutex<()>,
}

struct Fetched {
    at: Instant,
    keys: Option<Arc<PublicKeys>>,
}

impl Remote {
    pub(super) fn new() -> Result<Self, String> {
        Ok(Self {
            client: Client::new()?,
            places: Mutex::default(),
            fetching: tokio::sync::Mutex::default(),
        })
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Fetches the keys unless somebody just did. `params` hold what the vendor asks for (Plaid's client id and secret).
    pub(super) async fn fetch(
        &self,
        request: &KeyRequest,
        params: &std::collections::BTreeMap<String, String>,
    ) -> Result<(), String> {
        let place = place(request);
        let _one = self.fetching.lock().await;
        if self.lookup(request).is_some() {
            return Ok(());
        }
        let recent = {
            let places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
            places
                .get(&place)
                .is_some_and(|fetched| fetched.at.elapsed() < AGAIN)
        };
        if recent {
            return Err("the vendor's key could not be fetched a moment ago".into());
        }
        let outcome = self.get(request, params).await;
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        if places.len() >= MAX_PLACES
            && let Some(oldest) = places
                .iter()
                .min_by_key(|(_, one)| one.at)
                .map(|(place, _)| place.clone())
        {
            places.remove(&oldest);
        }
        let keys = outcome.as_ref().ok().map(|keys| Arc::new(keys.clone()));
        // A failed refresh keeps what was there.
        let keys = keys.or_else(|| places.get(&place).and_then(|before| before.keys.clone()));
        places.insert(
            place,
            Fetched {
                at: Instant::now(),
                keys,
            },
        );
        outcome.map(drop)
    }

    async fn get(
        &self,
        request: &KeyRequest,
        params: &std::collections::BTreeMap<String, String>,
    ) -> Result<PublicKeys, String> {
        if !request.url.starts_with("https://") {
            return Err(format!("{} is not https", request.url));
        }
        let body = if request.url.ends_with("/webhook_verification_key/get") {
            let body = serde_json::json!({
                "client_id": params.get("client_id"),
                "secret": params.get("secret"),
                "key_id": request.kid,
            });
            let draft = Draft {
                method: "POST".into(),
                url: Some(request.url.clone()),
                body: body.to_string().into_bytes(),
                ..Draft::default()
            };
            let answer = self.client.send(&draft, WITHIN).await?;
            if !answer.status.is_success() {
                return Err(format!("{} answered {}", request.url, answer.status));
            }
            answer.body
        } else {
            self.client.get(&request.url, WITHIN).await?
        };
        let text = std::str::from_utf8(&body).map_err(|_| format!("{} is no key", request.url))?;
        let keys =
            PublicKeys::parse(text, None).map_err(|error| format!("{}: {error}", request.url))?;
        match keys.valid_at(jiff::Timestamp::now()) {
            true => Ok(keys),
            false => Err(format!(
                "the certificate at {} is outside its validity",
                request.url
            )),
        }
    }
}

impl KeyLookup for Remote {
    fn lookup(&self, request: &KeyRequest) -> Option<Arc<PublicKeys>> {
        let places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let fetched = places.get(&place(request))?;
        let keys = fetched.keys.clone()?;
        let age = fetched.at.elapsed();
        // An unknown name may be a key that was added since: ask again, but not more often than once a while.
        let known = keys.has(request.kid.as_deref());
        (age < FRESH && (known || age < AGAIN)).then_some(keys)
    }
}

/// Plaid hands out one key at a time; everybody else a document.
fn place(request: &KeyRequest) -> String {
    match &request.kid {
        Some(kid) if request.url.ends_with("/webhook_verification_key/get") => {
            format!("{}#{kid}", request.url)
        }
        _ => request.url.clone(),
    }
}
