//! An ordinary session that comes back by itself.

use tokio_postgres::SimpleQueryMessage;
use tokio_util::task::AbortOnDropHandle;

use crate::replication::{Server, TlsError};

/// A failed statement.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}{}", self.code.as_ref().map(|c| format!(" ({c})")).unwrap_or_default())]
pub(crate) struct SqlError {
    /// SQLSTATE; `None` when the connection failed.
    pub(crate) code: Option<String>,
    pub(crate) message: String,
    /// Whether connecting failed for a reason that stays: a certificate, a password that is not there.
    pub(crate) refused: bool,
}

impl SqlError {
    /// What no server said.
    pub(crate) fn own(message: impl Into<String>) -> Self {
        Self {
            code: None,
            message: message.into(),
            refused: false,
        }
    }

    /// Whether the statement cannot succeed until somebody changes something: a privilege, a password, a missing object.
    pub(crate) fn needs_a_person(&self) -> bool {
        match self.code.as_deref() {
            // Invalid authorization, no such database, insufficient privilege, undefined objects and functions.
            Some(code) => {
                code.starts_with("28")
                    || code.starts_with("3D")
                    || matches!(code, "42501" | "42704" | "42P01" | "42883" | "0A000")
            }
            None => self.refused,
        }
    }
}

impl From<tokio_postgres::Error> for SqlError {
    fn from(error: tokio_postgres::Error) -> Self {
        match error.as_db_error() {
            Some(db) => {
                let mut message = db.message().to_owned();
                for more in [db.detail(), db.hint()].into_iter().flatten() {
                    message.push_str("; ");
                    message.push_str(more);
                }
                Self {
                    code: Some(db.code().code().to_owned()),
                    message,
                    refused: false,
                }
            }
            None => {
                let mut message = error.to_string();
                // The library tells kinds of errors apart in its text only.
                let mut refused = ["authentication error", "invalid configuration"]
                    .iter()
                    .any(|start| message.starts_with(start));
                let mut source = std::error::Error::source(&error);
                while let Some(cause) = source {
                    if let Some(tls) = cause.downcast_ref::<TlsError>() {
                        refused |= tls.stays();
                    }
                    // An error may repeat its cause in its own text.
                    let cause_text = cause.to_string();
                    if !message.ends_with(&cause_text) {
                        message = format!("{message}: {cause_text}");
                    }
                    source = cause.source();
                }
                Self {
                    code: None,
                    message,
                    refused,
                }
            }
        }
    }
}

/// A row of text values.
#[derive(Debug, Clone)]
pub(crate) struct Row(Vec<Option<String>>);

impl Row {
    /// Column `i`, empty if it is null.
    pub(crate) fn text(&self, i: usize) -> &str {
        self.get(i).unwrap_or_default()
    }

    /// Column `i`.
    pub(crate) fn get(&self, i: usize) -> Option<&str> {
        self.0.get(i).and_then(Option::as_deref)
    }

    /// Column `i` as a number, its default if it is null or none.
    pub(crate) fn number<T: std::str::FromStr + Default>(&self, i: usize) -> T {
        self.get(i)
            .and_then(|text| text.parse().ok())
            .unwrap_or_default()
    }

    /// Column `i` as a truth value.
    pub(crate) fn is_true(&self, i: usize) -> bool {
        matches!(self.get(i), Some("t" | "true" | "on"))
    }
}

/// A session that is opened when it is needed and again after it broke.
pub(crate) struct Client {
    server: Server,
    open: Option<(tokio_postgres::Client, AbortOnDropHandle<()>)>,
    /// How often it was opened: a transaction lives in one of them.
    opened: u64,
    raw: bool,
}

impl Client {
    pub(crate) fn new(server: Server) -> Self {
        Self {
            server,
            open: None,
            opened: 0,
            raw: false,
        }
    }

    /// One that asks for text as it is stored if `raw`, not as UTF-8.
    pub(crate) fn reading(server: Server, raw: bool) -> Self {
        Self {
            raw,
            ..Self::new(server)
        }
    }

    /// Counts the sessions so far: as long as it stays, so does the session.
    pub(crate) fn opened(&self) -> u64 {
        self.opened
    }

    /// Ends the session, and with it whatever transaction it is in.
    pub(crate) fn close(&mut self) {
        self.open = None;
    }

    /// The session itself.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub(crate) async fn session(&mut self) -> Result<&tokio_postgres::Client, SqlError> {
        if self
            .open
            .as_ref()
            .is_none_or(|(client, _)| client.is_closed())
        {
            let (client, connection) = self.server.control().await?;
            let driver = AbortOnDropHandle::new(tokio::spawn(connection));
            if self.raw {
                client
                    .batch_execute("SET client_encoding = 'SQL_ASCII'")
                    .await?;
            }
            self.open = Some((client, driver));
            self.opened += 1;
        }
        match &self.open {
            Some((client, _)) => Ok(client),
            None => Err(SqlError::own("the session closed")),
        }
    }

    /// Runs statements and returns all their rows as text.
    ///
    /// # Errors
    /// The statement's error, or that of the connection.
    pub(crate) async fn rows(&mut self, sql: &str) -> Result<Vec<Row>, SqlError> {
        let messages = self.session().await?.simple_query(sql).await?;
        Ok(messages
            .into_iter()
            .filter_map(|message| match message {
                SimpleQueryMessage::Row(row) => Some(Row((0..row.len())
                    // A name that is not UTF-8 exists in SQL_ASCII databases only, and cannot be used.
                    .map(|i| row.try_get(i).ok().flatten().map(str::to_owned))
                    .collect())),
                _ => None,
            })
            .collect())
    }

    /// Runs statements for their effect.
    ///
    /// # Errors
    /// As [`rows`](Self::rows).
    pub(crate) async fn run(&mut self, sql: &str) -> Result<(), SqlError> {
        Ok(self.session().await?.batch_execute(sql).await?)
    }
}
