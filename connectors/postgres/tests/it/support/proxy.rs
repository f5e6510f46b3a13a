//! A network between source and server that can stop or break.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::{AbortHandle, JoinSet},
};

/// Forwards connections to a server.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    stalled: watch::Sender<bool>,
    connections: Arc<Mutex<JoinSet<()>>>,
    accepting: AbortHandle,
}

impl Proxy {
    /// Listens, and forwards to the server of `url`.
    pub(crate) async fn to(url: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (_, rest) = url.split_once('@').expect("the URL has credentials");
        let server = rest.split('/').next().unwrap().to_owned();
        let stalled = watch::Sender::new(false);
        let connections = Arc::new(Mutex::new(JoinSet::new()));
        let accepting = {
            let (stalled, connections) = (stalled.clone(), Arc::clone(&connections));
            tokio::spawn(async move {
                while let Ok((client, _)) = listener.accept().await {
                    let Ok(upstream) = TcpStream::connect(&server).await else {
                        continue;
                    };
                    let (client_in, client_out) = client.into_split();
                    let (server_in, server_out) = upstream.into_split();
                    let mut connections =
                        connections.lock().unwrap_or_else(PoisonError::into_inner);
                    connections.spawn(forward(client_in, server_out, stalled.subscribe()));
                    connections.spawn(forward(server_in, client_out, stalled.subscribe()));
                }
            })
            .abort_handle()
        };
        Self {
            address,
            stalled,
            connections,
            accepting,
        }
    }

    /// `url`, through the proxy.
    pub(crate) fn through(&self, url: &str) -> String {
        let (head, rest) = url.split_once('@').expect("the URL has credentials");
        let (_, path) = rest.split_once('/').expect("the URL names a database");
        format!("{head}@{}/{path}", self.address)
    }

    /// Connections stay open, and nothing goes through any more; new ones hang as well.
    pub(crate) fn stall(&self) {
        self.stalled.send_replace(true);
    }

    /// What waits goes on.
    pub(crate) fn resume(&self) {
        self.stalled.send_replace(false);
    }

    /// Breaks all connections.
    pub(crate) fn cut(&self) {
        let mut connections = self
            .connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        connections.abort_all();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn forward(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut stalled: watch::Receiver<bool>,
) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        if stalled.wait_for(|stalled| !stalled).await.is_err()
            || to.write_all(&buffer[..length]).await.is_err()
        {
            return;
        }
    }
}
