//! A source in a world, and a sender that signs.

use std::time::Duration;

use bytes::Bytes;
use headgate_sdk::{
    Envelope,
    config::Secret,
    conformance::{Run, World},
    http::{Body, Request, Response},
};
use headgate_webhook::{
    Webhook, presets,
    verify::{Draft, Keys, Signer},
};
use http::{HeaderMap, StatusCode};
use http_body_util::BodyExt;
use serde_json::Value;

pub(crate) const SECRET: &str = "a secret of our own";
pub(crate) const DEADLINE: Duration = Duration::from_secs(120);

/// A source that is mounted.
pub(crate) struct Gate {
    pub(crate) world: World,
    pub(crate) run: Run,
}

impl Gate {
    pub(crate) async fn open(config: Value) -> Self {
        Self::in_world(World::new(8 << 20), config).await
    }

    pub(crate) async fn in_world(world: World, config: Value) -> Self {
        let run = match world.start::<Webhook>(config) {
            Ok(run) => run,
            Err(error) => panic!("{error}"),
        };
        let gate = Self { world, run };
        let mounted = async {
            while gate.run.status.get() != headgate_sdk::status::State::Ready {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(DEADLINE, mounted)
            .await
            .expect("the source starts");
        gate
    }

    /// Sends a request as it is.
    pub(crate) async fn send(&self, draft: Draft) -> Answer {
        self.send_body(draft.clone(), Body::from(draft.body)).await
    }

    /// Sends a request with another body than the draft's.
    pub(crate) async fn send_body(&self, draft: Draft, body: Body) -> Answer {
        answer(self.world.request(request(draft, body)).await).await
    }

    /// All events, durable or not.
    pub(crate) fn events(&self) -> Vec<Envelope> {
        let sent = self.world.lanes.sent();
        sent.into_values()
            .flat_map(|lane| lane.durable.into_iter().chain(lane.pending))
            .collect()
    }

    pub(crate) fn event(&self) -> Envelope {
        let mut events = self.events();
        assert_eq!(events.len(), 1, "{events:?}");
        events.remove(0)
    }
}

pub(crate) fn request(draft: Draft, body: Body) -> Request {
    let mut request = Request::new(body);
    *request.method_mut() = draft.method.parse().unwrap();
    *request.uri_mut() = draft
        .url
        .as_deref()
        .unwrap_or("/webhook/subject")
        .parse()
        .unwrap();
    *request.headers_mut() = draft.headers;
    request
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

pub(crate) async fn answer(response: Response) -> Answer {
    let (head, body) = response.into_parts();
    Answer {
        status: head.status,
        headers: head.headers,
        body: body.collect().await.unwrap().to_bytes(),
    }
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{self:?}"))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.to_vec()).unwrap()
    }

    pub(crate) fn id(&self) -> String {
        self.json()["id"].as_str().unwrap().to_owned()
    }
}

/// A draft to the subject's path.
pub(crate) fn post(body: impl Into<Vec<u8>>) -> Draft {
    Draft {
        method: "POST".into(),
        url: Some("/webhook/subject".into()),
        headers: HeaderMap::new(),
        body: body.into(),
    }
}

pub(crate) fn header(mut draft: Draft, name: &'static str, value: &str) -> Draft {
    draft.headers.insert(name, value.parse().unwrap());
    draft
}

/// The draft, signed by the preset with [`SECRET`].
pub(crate) fn signed(scheme: &str, draft: Draft) -> Draft {
    signed_with(scheme, SECRET, draft)
}

pub(crate) fn signed_with(scheme: &str, secret: &str, draft: Draft) -> Draft {
    let keys = Keys {
        secrets: vec![Secret::new(secret)],
        ..Keys::default()
    };
    let signer = Signer::new(presets::find(scheme).unwrap().verify.clone(), &keys, None).unwrap();
    signer.sign(draft, jiff::Timestamp::now()).unwrap()
}
