//! The replication connection: what `tokio-postgres` lacks.
//!
//! Startup, TLS, authentication and the replication commands of a `replication=database` session, then the CopyBoth stream.
//! Messages outside CopyBoth are those of `postgres-protocol`.
//!
//! Source: PostgreSQL manual, "Streaming Replication Protocol" and "Message Formats".
//!
//! Invariants: one task owns the connection; reading is cancel safe; a status update never waits for anything that the
//! server must read first (it is 34 bytes).

mod auth;
mod connection;
mod dial;
mod error;
mod stream;
mod tls;

pub(crate) use connection::Connection;
pub(crate) use dial::Server;
pub(crate) use error::{ReplicationError, ServerError};
pub(crate) use stream::{Frame, ReplicationStream};
use tls::Tls;
pub(crate) use tls::{TlsError, TlsMode};
