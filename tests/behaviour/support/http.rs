//! A keep-alive HTTP/1.1 client for one connection.

use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, StatusCode, client::conn::http1::SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// One connection.
pub(crate) struct Client {
    sender: SendRequest<Full<Bytes>>,
    host: String,
}

impl Client {
    /// Connects; `None` if nobody listens.
    pub(crate) async fn connect(address: SocketAddr) -> Option<Self> {
        let stream = TcpStream::connect(address).await.ok()?;
        stream.set_nodelay(true).ok()?;
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .ok()?;
        tokio::spawn(connection);
        Some(Self {
            sender,
            host: address.to_string(),
        })
    }

    /// Sends a GET; `None` if the connection breaks.
    pub(crate) async fn get(&mut self, path: &str) -> Option<(StatusCode, Bytes)> {
        self.send(Request::get(path).body(Full::default()).unwrap())
            .await
    }

    /// Sends a POST; `None` if the connection breaks.
    pub(crate) async fn post(
        &mut self,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Option<(StatusCode, Bytes)> {
        let mut request = Request::post(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(Full::new(body.into())).unwrap())
            .await
    }

    async fn send(&mut self, request: Request<Full<Bytes>>) -> Option<(StatusCode, Bytes)> {
        let (head, body) = self.exchange(request).await?.into_parts();
        Some((head.status, body))
    }

    /// Sends any request and reads the whole answer; `None` if the connection breaks.
    pub(crate) async fn exchange(
        &mut self,
        mut request: Request<Full<Bytes>>,
    ) -> Option<Response<Bytes>> {
        request
            .headers_mut()
            .insert("host", self.host.parse().unwrap());
        self.sender.ready().await.ok()?;
        let response = self.sender.send_request(request).await.ok()?;
        let (head, body) = response.into_parts();
        Some(Response::from_parts(
            head,
            body.collect().await.ok()?.to_bytes(),
        ))
    }
}
