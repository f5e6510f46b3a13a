//! The listener, spoken to over real connections.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use futures::future::BoxFuture;
use headgate_sdk::http::{Body, Handler, Mounts, Peer, Request as Incoming, Response};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinHandle,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_util::sync::CancellationToken;

use super::{Listener, Router, Tls, TlsConfig};

const DEADLINE: Duration = Duration::from_secs(120);

/// Answers with what the gateway knows of the peer.
struct WhoAreYou;

impl Handler for WhoAreYou {
    fn handle(&self, request: Incoming, peer: &Arc<Peer>) -> BoxFuture<'static, Response> {
        let peer = Arc::clone(peer);
        let version = request.version();
        Box::pin(async move {
            let text = format!("{version:?} {} {:?}", peer.tls, peer.certificate_subject);
            Response::new(Body::from(text))
        })
    }
}

struct Server {
    address: SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<()>,
    _mounted: headgate_sdk::http::MountGuard,
}

async fn serve(tls: Option<Tls>) -> Server {
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap())
        .await
        .unwrap()
        .with_tls(tls);
    let router = Arc::new(Router::default());
    let mounted = Mounts::new(router.clone())
        .mount("/who", Arc::new(WhoAreYou))
        .unwrap();
    let stop = CancellationToken::new();
    let address = listener.address();
    let task = tokio::spawn(listener.serve(router, stop.clone(), CancellationToken::new()));
    Server {
        address,
        stop,
        task,
        _mounted: mounted,
    }
}

impl Server {
    async fn stop(self) {
        self.stop.cancel();
        tokio::time::timeout(DEADLINE, self.task)
            .await
            .unwrap()
            .unwrap();
    }
}

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures/tls")
        .join(name)
}

fn config(client_ca: bool) -> TlsConfig {
    TlsConfig {
        certificate: fixture("server.pem"),
        key: fixture("server.key"),
        client_ca: client_ca.then(|| fixture("ca.pem")),
        client_optional: false,
    }
}

async fn connect(
    address: SocketAddr,
    protocol: &str,
    certificate: bool,
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(fixture("ca.pem")).unwrap())
        .unwrap();
    let builder =
        ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
    let mut client = match certificate {
        false => builder.with_no_client_auth(),
        true => builder
            .with_client_auth_cert(
                vec![CertificateDer::from_pem_file(fixture("client.pem")).unwrap()],
                PrivateKeyDer::from_pem_file(fixture("client.key")).unwrap(),
            )
            .unwrap(),
    };
    client.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    let stream = TcpStream::connect(address).await?;
    TlsConnector::from(Arc::new(client))
        .connect(ServerName::try_from("localhost").unwrap(), stream)
        .await
}

fn request() -> http::Request<Empty<bytes::Bytes>> {
    http::Request::get("http://localhost/who")
        .header("host", "localhost")
        .body(Empty::new())
        .unwrap()
}

async fn ask(stream: TlsStream<TcpStream>, http2: bool) -> Result<String, hyper::Error> {
    let io = TokioIo::new(stream);
    let response = if http2 {
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await?;
        let task = tokio::spawn(connection);
        let response = sender.send_request(request()).await?;
        drop((sender, task));
        response
    } else {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await?;
        let task = tokio::spawn(connection);
        let response = sender.send_request(request()).await?;
        drop(task);
        response
    };
    let body = response.into_body().collect().await?.to_bytes();
    Ok(String::from_utf8_lossy(&body).into_owned())
}

#[tokio::test]
async fn speaks_tls_in_both_versions_of_http() {
    let server = serve(Some(Tls::load(config(false)).unwrap())).await;
    let one = connect(server.address, "http/1.1", false).await.unwrap();
    assert_eq!(ask(one, false).await.unwrap(), "HTTP/1.1 true None");
    let two = connect(server.address, "h2", false).await.unwrap();
    assert_eq!(ask(two, true).await.unwrap(), "HTTP/2.0 true None");
    server.stop().await;
}

#[tokio::test]
async fn client_certificates_are_demanded_and_told_to_handlers() {
    let server = serve(Some(Tls::load(config(true)).unwrap())).await;
    let known = connect(server.address, "http/1.1", true).await.unwrap();
    assert_eq!(
        ask(known, false).await.unwrap(),
        "HTTP/1.1 true Some(\"CN=client\")"
    );
    let refused = match connect(server.address, "http/1.1", false).await {
        Err(_) => true,
        // With TLS 1.3 a client hears of its refusal only when it reads.
        Ok(stream) => ask(stream, false).await.is_err(),
    };
    assert!(refused);
    server.stop().await;
}

#[tokio::test]
async fn a_renewed_certificate_is_served_without_a_restart_and_a_broken_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let own = TlsConfig {
        certificate: folder.path().join("cert.pem"),
        key: folder.path().join("key.pem"),
        client_ca: None,
        client_optional: false,
    };
    let install = |name: &str| {
        std::fs::copy(fixture(&format!("{name}.pem")), &own.certificate).unwrap();
        std::fs::copy(fixture(&format!("{name}.key")), &own.key).unwrap();
    };
    install("server");
    let tls = Arc::new(Tls::load(own.clone()).unwrap());
    let before = tls.current();
    std::fs::write(&own.certificate, "broken").unwrap();
    let error = tls.reload().unwrap_err().to_string();
    assert!(
        error.contains("cert.pem") && error.contains("PEM"),
        "{error}"
    );
    assert!(
        Arc::ptr_eq(&before, &tls.current()),
        "the old one stays in use"
    );
    install("server2");
    tls.reload().unwrap();
    assert!(!Arc::ptr_eq(&before, &tls.current()));

    let server = serve(Some(Arc::into_inner(tls).unwrap())).await;
    let stream = connect(server.address, "http/1.1", false).await.unwrap();
    let shown = stream.get_ref().1.peer_certificates().unwrap()[0].clone();
    assert_eq!(
        shown,
        CertificateDer::from_pem_file(fixture("server2.pem")).unwrap()
    );
    drop(stream);
    server.stop().await;
}

#[tokio::test]
async fn renewed_files_are_followed_and_so_are_the_authorities_of_clients() {
    let folder = tempfile::tempdir().unwrap();
    let own = TlsConfig {
        certificate: folder.path().join("cert.pem"),
        key: folder.path().join("key.pem"),
        client_ca: Some(folder.path().join("clients.pem")),
        client_optional: false,
    };
    let install = |name: &str, authority: &str| {
        std::fs::copy(fixture(&format!("{name}.key")), &own.key).unwrap();
        std::fs::copy(fixture(authority), own.client_ca.as_ref().unwrap()).unwrap();
        std::fs::copy(fixture(&format!("{name}.pem")), &own.certificate).unwrap();
    };
    let served = async |server: &Server| {
        let stream = connect(server.address, "http/1.1", true).await.ok()?;
        let shown = stream.get_ref().1.peer_certificates()?[0].clone();
        ask(stream, false).await.ok().map(|answer| (shown, answer))
    };
    install("server", "server2.pem");
    let tls = Tls::load(own.clone()).unwrap();
    let server = serve(Some(tls.looking_every(Duration::from_millis(20)))).await;
    assert_eq!(
        served(&server).await,
        None,
        "its authority is not among them"
    );
    install("server2", "ca.pem");
    let renewed = async {
        loop {
            if let Some(found) = served(&server).await {
                break found;
            }
        }
    };
    let (shown, answer) = tokio::time::timeout(DEADLINE, renewed).await.unwrap();
    assert_eq!(answer, "HTTP/1.1 true Some(\"CN=client\")");
    assert_eq!(
        shown,
        CertificateDer::from_pem_file(fixture("server2.pem")).unwrap()
    );
    server.stop().await;
}

#[tokio::test]
async fn an_http2_header_bomb_is_refused() {
    let server = serve(None).await;
    let stream = TcpStream::connect(server.address).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    let task = tokio::spawn(connection);
    let mut bomb = request();
    for number in 0..2000 {
        let name: http::HeaderName = format!("x-{number}").parse().unwrap();
        bomb.headers_mut()
            .insert(name, "y".repeat(60).parse().unwrap());
    }
    let refused = match tokio::time::timeout(DEADLINE, sender.send_request(bomb)).await {
        Err(_) => panic!("the bomb is not answered"),
        Ok(Err(_)) => true,
        Ok(Ok(answer)) => answer.status() == 431,
    };
    assert!(refused);
    task.abort();
    server.stop().await;
}

#[tokio::test]
async fn header_bombs_are_refused_and_others_are_served_meanwhile() {
    let server = serve(None).await;
    let mut many = String::from("GET /who HTTP/1.1\r\nhost: a\r\n");
    for number in 0..1000 {
        many.push_str(&format!("x-{number}: y\r\n"));
    }
    let long = format!(
        "GET /who HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n",
        "y".repeat(1 << 20)
    );
    for bomb in [many + "\r\n", long] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        let _closed_early = stream.write_all(bomb.as_bytes()).await;
        let mut answer = Vec::new();
        let _reset = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut answer))
            .await
            .unwrap();
        let answer = String::from_utf8_lossy(&answer);
        assert!(
            answer.is_empty()
                || answer.starts_with("HTTP/1.1 431")
                || answer.starts_with("HTTP/1.1 400"),
            "{answer}"
        );
    }
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream
        .write_all(b"GET /who HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.ends_with("HTTP/1.1 false None"),
        "{answer}"
    );
    server.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_trickles_its_headers_is_dropped() {
    let server = serve(None).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream
        .write_all(b"GET /who HTTP/1.1\r\nhost: a\r\n")
        .await
        .unwrap();
    let started = tokio::time::Instant::now();
    let mut answer = Vec::new();
    let _reset = tokio::time::timeout(DEADLINE, stream.read_to_end(&mut answer))
        .await
        .expect("the connection is ended");
    assert!(
        started.elapsed() <= Duration::from_secs(20),
        "{:?}",
        started.elapsed()
    );
    server.stop().await;
}
