//! A way to the server that can be cut, and that counts what goes over it.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::{JoinHandle, JoinSet},
};

/// How the network is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Network {
    Good,
    /// Every connection ends at once.
    Cut,
}

/// What happens to connections.
#[derive(Debug, Clone, Copy)]
struct Now {
    network: Network,
    /// Connections that began before this one are held: nobody says that they are dead, but nothing goes over them any more.
    silent_before: u64,
    /// Only those that a stream was opened on.
    only_streams: bool,
}

/// Listens, and passes on to the server.
pub(crate) struct Proxy {
    address: SocketAddr,
    now: watch::Sender<Now>,
    aggregates: Arc<AtomicU64>,
    connections: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// A way to the server of a connection string (one host, no name).
    pub(crate) async fn to(url: &str) -> Self {
        let server = host(url).to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it listens");
        let (now, changes) = watch::channel(Now {
            network: Network::Good,
            silent_before: 0,
            only_streams: false,
        });
        let (aggregates, connections) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
        let (counted, numbered) = (Arc::clone(&aggregates), Arc::clone(&connections));
        let task = tokio::spawn(async move {
            let mut open = JoinSet::new();
            loop {
                let Ok((client, _)) = listener.accept().await else {
                    return;
                };
                let number = numbered.fetch_add(1, Ordering::Relaxed);
                open.spawn(pass(
                    client,
                    server.clone(),
                    number,
                    changes.clone(),
                    Arc::clone(&counted),
                ));
                while open.try_join_next().is_some() {}
            }
        });
        Self {
            address,
            now,
            aggregates,
            connections,
            task,
        }
    }

    /// A connection string that leads through it.
    pub(crate) fn url(&self, url: &str) -> String {
        let separator = if url.contains('?') { '&' } else { '?' };
        let url = url.replacen(host(url), &self.address.to_string(), 1);
        // The server tells its own address to whoever asks for the members of its set.
        format!("{url}{separator}directConnection=true")
    }

    /// Ends all connections, and those to come, until [`mend`](Self::mend).
    pub(crate) fn cut(&self) {
        self.now.send_modify(|now| now.network = Network::Cut);
    }

    /// All is well again.
    pub(crate) fn mend(&self) {
        self.now.send_modify(|now| now.network = Network::Good);
    }

    /// The connections that there are pass nothing on any more, and stay open; new ones work.
    pub(crate) fn silence(&self) {
        self.hold(false);
    }

    /// The same for connections on which a stream was opened; the driver's monitors go on.
    pub(crate) fn silence_streams(&self) {
        self.hold(true);
    }

    fn hold(&self, only_streams: bool) {
        let silent_before = self.connections();
        self.now.send_modify(|now| {
            now.silent_before = silent_before;
            now.only_streams = only_streams;
        });
    }

    /// How many connections were made.
    pub(crate) fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// How many `aggregate` commands, such as a stream is opened with, went to the server.
    pub(crate) fn aggregates(&self) -> u64 {
        self.aggregates.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let rest = rest.rsplit_once('@').map_or(rest, |(_, rest)| rest);
    rest.split(['/', '?']).next().unwrap_or(rest)
}

async fn pass(
    client: TcpStream,
    server: String,
    number: u64,
    mut now: watch::Receiver<Now>,
    aggregates: Arc<AtomicU64>,
) {
    if now.borrow().network == Network::Cut {
        return;
    }
    let Ok(server) = TcpStream::connect(server).await else {
        return;
    };
    let (client_in, client_out) = client.into_split();
    let (server_in, server_out) = server.into_split();
    let (there, back) = (now.clone(), now.clone());
    let streams = AtomicBool::new(false);
    let connection = Connection {
        number,
        streams: &streams,
    };
    let cut = async {
        let _cut = now.wait_for(|now| now.network == Network::Cut).await;
    };
    tokio::select! {
        () = cut => {}
        () = copy(client_in, server_out, connection, there, Some(&aggregates)) => {}
        () = copy(server_in, client_out, connection, back, None) => {}
    }
}

#[derive(Clone, Copy)]
struct Connection<'a> {
    number: u64,
    /// Whether a stream was opened on it.
    streams: &'a AtomicBool,
}

impl Connection<'_> {
    fn is_silent(self, now: Now) -> bool {
        self.number < now.silent_before
            && (!now.only_streams || self.streams.load(Ordering::Relaxed))
    }
}

async fn copy(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    connection: Connection<'_>,
    now: watch::Receiver<Now>,
    aggregates: Option<&AtomicU64>,
) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(n @ 1..) = from.read(&mut buffer).await {
        if connection.is_silent(*now.borrow()) {
            std::future::pending::<()>().await;
        }
        if let Some(aggregates) = aggregates {
            // The first field of a command names it: a string (a collection) or a number (all of them).
            let named = buffer[..n]
                .windows(11)
                .filter(|w| *w == b"\x02aggregate\0" || *w == b"\x10aggregate\0")
                .count();
            aggregates.fetch_add(named as u64, Ordering::Relaxed);
            connection.streams.fetch_or(named > 0, Ordering::Relaxed);
        }
        if to.write_all(&buffer[..n]).await.is_err() {
            return;
        }
    }
}
