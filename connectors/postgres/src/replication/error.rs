//! What goes wrong on a replication connection.

use std::{fmt, io};

use fallible_iterator::FallibleIterator;
use postgres_protocol::message::backend::ErrorFields;

use super::TlsError;

/// Why a replication connection failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReplicationError {
    /// The network or the server's process.
    #[error("the replication connection broke: {0}")]
    Io(#[from] io::Error),
    /// The server answered with an error.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// TLS could not be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The server wants an authentication that this client does not have, or there is no password for it.
    #[error("authentication: {0}")]
    Authentication(String),
    /// The server said something that the protocol does not allow.
    #[error("the server broke the replication protocol: {0}")]
    Protocol(String),
    /// Nothing came for too long although an answer was asked for.
    #[error(
        "the server has not answered for {0:?}: the connection is half-open or the server hangs"
    )]
    Silent(std::time::Duration),
}

impl ReplicationError {
    /// The SQLSTATE, if the server sent one.
    pub(crate) fn sqlstate(&self) -> Option<&str> {
        match self {
            Self::Server(error) => Some(&error.code),
            _ => None,
        }
    }
}

/// An ErrorResponse.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ServerError {
    /// SQLSTATE.
    pub(crate) code: String,
    /// The primary message.
    pub(crate) message: String,
    /// Detail and hint, where sent.
    pub(crate) more: Option<String>,
}

impl ServerError {
    pub(super) fn read(fields: ErrorFields<'_>) -> io::Result<Self> {
        let mut error = Self::default();
        let mut fields = fields;
        while let Some(field) = fields.next()? {
            let value = String::from_utf8_lossy(field.value_bytes()).into_owned();
            match field.type_() {
                b'C' => error.code = value,
                b'M' => error.message = value,
                b'D' | b'H' => {
                    let more = error.more.get_or_insert_default();
                    if !more.is_empty() {
                        more.push_str("; ");
                    }
                    more.push_str(&value);
                }
                _ => {}
            }
        }
        Ok(error)
    }
}

/// What a notice says that must not be passed over: Postgres 18 only warns where older servers end the stream because the
/// publication does not exist at a place in the log, and leaves out everything that was changed there.
pub(super) fn left_out(fields: ErrorFields<'_>) -> io::Result<Option<ServerError>> {
    let (mut code, mut routine, mut message) = (false, false, String::new());
    let mut fields = fields;
    while let Some(field) = fields.next()? {
        match (field.type_(), field.value_bytes()) {
            (b'C', b"55000") => code = true,
            // The server's function: the one field besides the code that no language changes.
            (b'R', b"LoadPublications") => routine = true,
            (b'M', text) => message = String::from_utf8_lossy(text).into_owned(),
            _ => {}
        }
    }
    Ok((code && routine).then(|| ServerError {
        code: "42704".into(),
        message: format!(
            "the publication does not exist at this place in the log, so the changes made there are left out: {message}"
        ),
        more: None,
    }))
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.code)?;
        if let Some(more) = &self.more {
            write!(f, ": {more}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ServerError {}
