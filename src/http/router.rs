//! From a path to the handler that a source mounted there.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use ::http::StatusCode;
use headgate_sdk::http::{Handler, MountError, MountTable, Peer, Problem, Request, Response};

/// What clients are told to wait while a source is not there.
const COME_BACK: Duration = Duration::from_secs(5);

/// Paths by their exact text; `None` for those that are configured but not mounted.
#[derive(Default)]
pub struct Router {
    paths: RwLock<HashMap<String, Option<Arc<dyn Handler>>>>,
}

impl Router {
    /// Says which paths the configuration has; others are forgotten unless something is mounted there.
    pub fn expect_paths(&self, expected: impl IntoIterator<Item = String>) {
        let mut paths = self.paths.write().unwrap_or_else(PoisonError::into_inner);
        paths.retain(|_, handler| handler.is_some());
        for path in expected {
            paths.entry(path).or_insert(None);
        }
    }

    /// Answers one request of `peer`.
    pub async fn answer(&self, request: Request, peer: &Arc<Peer>) -> Response {
        let handler = {
            let paths = self.paths.read().unwrap_or_else(PoisonError::into_inner);
            paths.get(request.uri().path()).cloned()
        };
        match handler {
            Some(Some(handler)) => handler.handle(request, peer).await,
            Some(None) => Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "Not ready",
                "This source is starting or restarting. Send the request again.",
            )
            .retry_after(COME_BACK)
            .into_response(),
            None => Problem::new(
                StatusCode::NOT_FOUND,
                "Unknown source",
                "Nothing is configured at this path. Check the URL that you were given.",
            )
            .into_response(),
        }
    }
}

impl MountTable for Router {
    fn mount(&self, path: &str, handler: Arc<dyn Handler>) -> Result<(), MountError> {
        let mut paths = self.paths.write().unwrap_or_else(PoisonError::into_inner);
        let place = paths.entry(path.to_owned()).or_insert(None);
        if place.is_some() {
            return Err(MountError {
                path: path.to_owned(),
            });
        }
        *place = Some(handler);
        Ok(())
    }

    fn unmount(&self, path: &str) {
        let mut paths = self.paths.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = paths.get_mut(path) {
            *place = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::future::BoxFuture;
    use headgate_sdk::http::{Body, Mounts};

    use super::*;

    struct Ok200;

    impl Handler for Ok200 {
        fn handle(&self, _: Request, _: &Arc<Peer>) -> BoxFuture<'static, Response> {
            Box::pin(async { Response::new(Body::empty()) })
        }
    }

    async fn status(router: &Router, path: &str) -> u16 {
        let request = ::http::Request::builder()
            .uri(path)
            .body(Body::empty())
            .unwrap();
        let peer = Arc::new(Peer {
            address: "203.0.113.7:4711".parse().unwrap(),
            tls: false,
            certificate_subject: None,
        });
        router.answer(request, &peer).await.status().as_u16()
    }

    #[tokio::test]
    async fn configured_paths_are_busy_until_mounted_and_after() {
        let router = Arc::new(Router::default());
        router.expect_paths(["/webhook/github".to_owned()]);
        assert_eq!(status(&router, "/webhook/github").await, 503);
        assert_eq!(status(&router, "/webhook/other").await, 404);
        let mounts = Mounts::new(router.clone());
        let guard = mounts.mount("/webhook/github", Arc::new(Ok200)).unwrap();
        assert!(mounts.mount("/webhook/github", Arc::new(Ok200)).is_err());
        assert_eq!(status(&router, "/webhook/github").await, 200);
        drop(guard);
        assert_eq!(status(&router, "/webhook/github").await, 503);
        router.expect_paths([]);
        assert_eq!(status(&router, "/webhook/github").await, 404);
    }
}
