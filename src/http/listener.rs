//! Accepts connections and serves the router on them.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use headgate_sdk::http::{Body, Peer};
use hyper::{Request, body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{
        conn::auto,
        graceful::{GracefulShutdown, Watcher},
    },
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::{Router, Tls, tls};
use crate::runtime::descriptors;

/// Connections at once, if there are [descriptors] enough; more wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 10_000;
/// The time for a request's headers to arrive.
const HEADERS_WITHIN: Duration = Duration::from_secs(15);
/// The time for a TLS handshake.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);
/// The size and number of a request's headers.
const MAX_HEADER_BYTES: usize = 64 * 1024;
const MAX_HEADERS: usize = 128;
/// HTTP/2 requests at once on a connection.
const MAX_STREAMS: u32 = 256;

/// A bound port.
#[derive(Debug)]
pub struct Listener {
    listener: TcpListener,
    address: SocketAddr,
    tls: Option<Arc<Tls>>,
}

impl Listener {
    /// Binds `address`; port 0 takes a free one.
    ///
    /// # Errors
    /// [`ListenError`] if the port is in use or may not be bound.
    pub async fn bind(address: SocketAddr) -> Result<Self, ListenError> {
        let failed = |source| ListenError::new("http.listen", address, source);
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self {
            listener,
            address,
            tls: None,
        })
    }

    /// Speaks TLS with these certificates, if there are any.
    #[must_use]
    pub fn with_tls(mut self, tls: Option<Tls>) -> Self {
        self.tls = tls.map(Arc::new);
        self
    }

    /// The address it listens on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves `router` until `shutdown`, then lets requests under way finish until `abandon`.
    pub async fn serve(
        self,
        router: Arc<Router>,
        shutdown: CancellationToken,
        abandon: CancellationToken,
    ) {
        let most = descriptors::for_connections(MAX_CONNECTIONS);
        let graceful = GracefulShutdown::new();
        // Connections that are open when this ends are cut off.
        let mut open = JoinSet::new();
        let server = Arc::new(server());
        let follower = self.tls.clone().map(|tls| {
            let stop = shutdown.clone();
            tokio::spawn(async move { tls.follow(stop).await })
        });
        loop {
            let (stream, address) = tokio::select! {
                () = shutdown.cancelled() => break,
                Some(_ended) = open.join_next(), if !open.is_empty() => continue,
                accepted = self.listener.accept(), if open.len() < most => match accepted {
                    Ok(accepted) => accepted,
                    Err(error) => {
                        // Out of file descriptors, usually: the connections that end will free some.
                        tracing::warn!(%error, "a connection could not be accepted; raise the limit of open files");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                        continue;
                    }
                },
            };
            let watcher = graceful.watcher();
            let (server, router) = (Arc::clone(&server), Arc::clone(&router));
            let tls = self.tls.clone();
            open.spawn(async move { accept(&server, stream, address, tls, router, watcher).await });
        }
        drop(self.listener);
        tokio::select! {
            () = graceful.shutdown() => {}
            () = abandon.cancelled() => {}
        }
        if let Some(follower) = follower {
            let _ended = follower.await;
        }
    }
}

fn server() -> auto::Builder<TokioExecutor> {
    let mut server = auto::Builder::new(TokioExecutor::new());
    server
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_WITHIN)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEADER_BYTES);
    server
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(u32::try_from(MAX_HEADER_BYTES).expect("a small constant"))
        .keep_alive_interval(Duration::from_secs(30));
    server
}

/// Serves one connection to its end.
async fn accept(
    server: &auto::Builder<TokioExecutor>,
    stream: TcpStream,
    address: SocketAddr,
    tls: Option<Arc<Tls>>,
    router: Arc<Router>,
    watcher: Watcher,
) {
    let _unimportant = stream.set_nodelay(true);
    let mut peer = Peer {
        address,
        tls: false,
        certificate_subject: None,
    };
    let Some(tls) = tls else {
        return converse(server, stream, peer, router, watcher).await;
    };
    let handshake = TlsAcceptor::from(tls.current()).accept(stream);
    match tokio::time::timeout(HANDSHAKE_WITHIN, handshake).await {
        Ok(Ok(stream)) => {
            peer.tls = true;
            peer.certificate_subject = stream
                .get_ref()
                .1
                .peer_certificates()
                .and_then(|chain| tls::subject(chain.first()?));
            converse(server, stream, peer, router, watcher).await;
        }
        Ok(Err(error)) => tracing::debug!(%error, %address, "a TLS handshake failed"),
        Err(_) => tracing::debug!(%address, "a TLS handshake took too long"),
    }
}

async fn converse(
    server: &auto::Builder<TokioExecutor>,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: Peer,
    router: Arc<Router>,
    watcher: Watcher,
) {
    let address = peer.address;
    let peer = Arc::new(peer);
    let service = service_fn(move |request: Request<Incoming>| {
        let (router, peer) = (Arc::clone(&router), Arc::clone(&peer));
        async move { Ok::<_, Infallible>(router.answer(request.map(Body::new), &peer).await) }
    });
    let connection = server.serve_connection(TokioIo::new(stream), service);
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(%error, %address, "a connection ended early");
    }
}

/// A port cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} (`{key}`): {source}; {}", remedy(source))]
pub struct ListenError {
    /// The key that names the address.
    key: &'static str,
    address: SocketAddr,
    source: io::Error,
}

impl ListenError {
    /// What was met when `address` was bound, which `key` names.
    pub(crate) fn new(key: &'static str, address: SocketAddr, source: io::Error) -> Self {
        Self {
            key,
            address,
            source,
        }
    }
}

fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => "stop what listens there, or write another address",
        io::ErrorKind::AddrNotAvailable => {
            "write an address that this machine has, `0.0.0.0` for all of them"
        }
        io::ErrorKind::PermissionDenied => {
            "write a port of 1024 or more, or give the program the capability CAP_NET_BIND_SERVICE"
        }
        _ => "write another address",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_has_its_remedy() {
        let address = SocketAddr::from(([127, 0, 0, 1], 80));
        let told =
            |kind: io::ErrorKind| ListenError::new("http.listen", address, kind.into()).to_string();
        insta::assert_snapshot!(
            [
                told(io::ErrorKind::AddrInUse),
                told(io::ErrorKind::AddrNotAvailable),
                told(io::ErrorKind::PermissionDenied),
            ]
            .join("\n"),
            @r"
            cannot listen on 127.0.0.1:80 (`http.listen`): address in use; stop what listens there, or write another address
            cannot listen on 127.0.0.1:80 (`http.listen`): address not available; write an address that this machine has, `0.0.0.0` for all of them
            cannot listen on 127.0.0.1:80 (`http.listen`): permission denied; write a port of 1024 or more, or give the program the capability CAP_NET_BIND_SERVICE
            "
        );
    }
}
