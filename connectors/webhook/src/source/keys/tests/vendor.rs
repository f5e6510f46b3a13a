//! A vendor: TLS for any of the vendors' hosts, and an answer that the test chooses.

use std::sync::{Arc, Mutex};

use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use rustls::{
    RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;

use crate::client::Net;

/// Hosts under which the vendor is known.
const HOSTS: [&str; 5] = [
    "sns.eu-central-1.amazonaws.com",
    "api.paypal.com",
    "webhooks.truelayer.com",
    "sandbox.plaid.com",
    "keys.example.com",
];

/// What it answers from now on.
#[derive(Debug, Clone)]
pub(super) enum Reply {
    Text(u16, String),
    Redirect(&'static str),
    /// A body without end.
    Endless,
    /// Nothing, on an open connection.
    Silence,
}

/// An authority and its key.
pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    pem: String,
}

pub(super) struct Vendor {
    pub(super) authority: Authority,
    net: Net,
    reply: Arc<Mutex<Reply>>,
    asked: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

fn authority_params() -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

impl Authority {
    pub(super) fn new() -> Self {
        let (params, key) = (authority_params(), KeyPair::generate().unwrap());
        let certificate = params.self_signed(&key).unwrap();
        Self {
            certificate: certificate.der().clone(),
            pem: certificate.pem(),
            issuer: Issuer::new(params, key),
        }
    }

    /// An authority below this one.
    pub(super) fn below(&self) -> Self {
        let (mut params, key) = (authority_params(), KeyPair::generate().unwrap());
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, "an intermediate authority");
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Self {
            certificate: certificate.der().clone(),
            pem: certificate.pem(),
            issuer: Issuer::new(params, key),
        }
    }

    /// The certificate of the RSA key that signs in these tests, for `host`, and the authority's own.
    pub(super) fn certificate_for(&self, host: &str, until: i32) -> String {
        let key = KeyPair::from_pem(include_str!(
            "../../../../../../fixtures/webhooks/keys/rsa.pem"
        ))
        .unwrap();
        let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        params.not_after = date_time_ymd(until, 1, 1);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        format!("{}{}", certificate.pem(), self.pem)
    }
}

impl Vendor {
    pub(super) async fn open() -> Self {
        let authority = Authority::new();
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(HOSTS.map(str::to_owned)).unwrap();
        let own = params.signed_by(&key, &authority.issuer).unwrap();
        let server = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![own.der().clone()],
                PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
            )
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut authorities = RootCertStore::empty();
        authorities.add(authority.certificate.clone()).unwrap();
        let net = Net {
            authorities: Arc::new(authorities),
            instead: Some(listener.local_addr().unwrap()),
        };
        let reply = Arc::new(Mutex::new(Reply::Text(404, String::new())));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (says, hears) = (Arc::clone(&reply), Arc::clone(&asked));
        let acceptor = TlsAcceptor::from(Arc::new(server));
        let task = tokio::spawn(async move {
            let mut conversations = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (says, hears) = (Arc::clone(&says), Arc::clone(&hears));
                conversations.spawn(converse(acceptor.clone(), stream, says, hears));
            }
        });
        Self {
            authority,
            net,
            reply,
            asked,
            task,
        }
    }

    pub(super) fn net(&self) -> Net {
        self.net.clone()
    }

    pub(super) fn says(&self, reply: Reply) {
        *self.reply.lock().unwrap() = reply;
    }

    /// Everything that it was asked: host, request line and body of each request.
    pub(super) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    /// Goes down: connections are refused from now on.
    pub(super) async fn close(&mut self) {
        self.task.abort();
        let _ended = (&mut self.task).await;
    }
}

impl Drop for Vendor {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn converse(
    acceptor: TlsAcceptor,
    stream: TcpStream,
    reply: Arc<Mutex<Reply>>,
    asked: Arc<Mutex<Vec<String>>>,
) {
    let Ok(mut stream) = acceptor.accept(stream).await else {
        return;
    };
    let mut request = Vec::new();
    let (head, length) = loop {
        if stream.read_buf(&mut request).await.unwrap_or(0) == 0 {
            return;
        }
        let text = String::from_utf8_lossy(&request).into_owned();
        if let Some((head, _)) = text.split_once("\r\n\r\n") {
            let length = header(head, "content-length").map_or(0, |text| text.parse().unwrap());
            break (head.to_owned(), length);
        }
    };
    while request.len() < head.len() + 4 + length {
        if stream.read_buf(&mut request).await.unwrap_or(0) == 0 {
            return;
        }
    }
    let body = String::from_utf8_lossy(&request[head.len() + 4..]).into_owned();
    let host = header(&head, "host").unwrap_or_default();
    let line = head.lines().next().unwrap_or_default();
    asked.lock().unwrap().push(format!("{host} {line} {body}"));
    let reply = reply.lock().unwrap().clone();
    let text = match reply {
        Reply::Text(status, body) => format!(
            "HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        ),
        Reply::Redirect(to) => format!(
            "HTTP/1.1 302 Found\r\nconnection: close\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n"
        ),
        Reply::Endless => {
            let head = "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n";
            let mut written = stream.write_all(head.as_bytes()).await;
            while written.is_ok() {
                written = stream.write_all(&[b' '; 16 * 1024]).await;
            }
            return;
        }
        Reply::Silence => std::future::pending().await,
    };
    let _gone = stream.write_all(text.as_bytes()).await;
    let _gone = stream.shutdown().await;
}

fn header(head: &str, name: &str) -> Option<String> {
    head.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name)
            .then(|| value.trim().to_owned())
    })
}
