//! A replication session before it streams: startup and the commands of the replication grammar.

use std::io;

use bytes::{Buf, BytesMut};
use fallible_iterator::FallibleIterator;
use postgres_protocol::message::{
    backend::{ErrorResponseBody, Header, Message},
    frontend,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{ReplicationError, ReplicationStream, Server, ServerError, auth, dial::Wire};
use crate::{lsn::Lsn, sql::identifier};

/// A connection in `replication=database` mode, ready for commands.
pub(crate) struct Connection {
    session: Session,
}

/// The answer to `IDENTIFY_SYSTEM`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SystemIdentity {
    /// The cluster.
    pub(crate) system: String,
    /// Its timeline now.
    pub(crate) timeline: u32,
    /// Its write (on a standby: replay) position now.
    pub(crate) position: Lsn,
}

/// The answer to `CREATE_REPLICATION_SLOT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CreatedSlot {
    /// Transactions that commit from here on are streamed; all others are in the snapshot.
    pub(crate) consistent_point: Lsn,
    /// The exported snapshot, valid until the next command on this connection.
    pub(crate) snapshot: Option<String>,
}

type Row = Vec<Option<String>>;

impl Connection {
    /// Dials, starts and authenticates. `raw` asks for text as it is stored: a server whose encoding is SQL_ASCII ends the
    /// stream at the first text that is not UTF-8 if it is asked for UTF-8.
    pub(crate) async fn open(server: &Server, raw: bool) -> Result<Self, ReplicationError> {
        let dialed = server.dial().await?;
        let mut session = Session {
            wire: dialed.wire,
            incoming: BytesMut::with_capacity(64 << 10),
            outgoing: BytesMut::new(),
        };
        let name = server.config.get_application_name().unwrap_or("headgate");
        let parameters = [
            ("user", server.user()),
            ("database", server.database()),
            ("replication", "database"),
            ("client_encoding", if raw { "SQL_ASCII" } else { "UTF8" }),
            ("application_name", name),
            ("options", server.config.get_options().unwrap_or_default()),
        ];
        session
            .write(|out| frontend::startup_message(parameters, out))
            .await?;
        auth::authenticate(
            &mut session,
            server,
            dialed.server_end_point,
            dialed.encrypted,
        )
        .await?;
        loop {
            match session.read().await? {
                Message::ReadyForQuery(_) => return Ok(Self { session }),
                Message::ErrorResponse(body) => return Err(session.server_error(&body)?.into()),
                _ => {}
            }
        }
    }

    /// Asks who the server is.
    pub(crate) async fn identify(&mut self) -> Result<SystemIdentity, ReplicationError> {
        let rows = self.command("IDENTIFY_SYSTEM").await?;
        let row = rows
            .first()
            .ok_or_else(|| missing("IDENTIFY_SYSTEM", "a row"))?;
        let text = |i: usize| row.get(i).and_then(Option::as_deref).unwrap_or_default();
        Ok(SystemIdentity {
            system: text(0).to_owned(),
            timeline: text(1)
                .parse()
                .map_err(|_| missing("IDENTIFY_SYSTEM", "a timeline"))?,
            position: text(2)
                .parse()
                .map_err(|_| missing("IDENTIFY_SYSTEM", "a position"))?,
        })
    }

    /// The history of `timeline`: (timeline, where it ended), oldest first.
    pub(crate) async fn history(
        &mut self,
        timeline: u32,
    ) -> Result<Vec<(u32, Lsn)>, ReplicationError> {
        if timeline <= 1 {
            return Ok(Vec::new());
        }
        let rows = self
            .command(&format!("TIMELINE_HISTORY {timeline}"))
            .await?;
        let content = rows
            .into_iter()
            .next()
            .and_then(|row| row.into_iter().nth(1).flatten())
            .ok_or_else(|| missing("TIMELINE_HISTORY", "its content"))?;
        Ok(content
            .lines()
            .filter_map(|line| {
                let mut fields = line.split_whitespace();
                Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
            })
            .collect())
    }

    /// Creates a logical slot for `pgoutput`.
    pub(crate) async fn create_slot(
        &mut self,
        name: &str,
        temporary: bool,
        export: bool,
        failover: bool,
    ) -> Result<CreatedSlot, ReplicationError> {
        let sql = if failover {
            // The option list exists since 15, FAILOVER since 17.
            let snapshot = if export { "export" } else { "nothing" };
            format!(
                "CREATE_REPLICATION_SLOT {} LOGICAL pgoutput (SNAPSHOT '{snapshot}', FAILOVER true)",
                identifier(name)
            )
        } else {
            format!(
                "CREATE_REPLICATION_SLOT {}{} LOGICAL pgoutput {}",
                identifier(name),
                if temporary { " TEMPORARY" } else { "" },
                if export {
                    "EXPORT_SNAPSHOT"
                } else {
                    "NOEXPORT_SNAPSHOT"
                },
            )
        };
        let rows = self.command(&sql).await?;
        let row = rows
            .into_iter()
            .next()
            .ok_or_else(|| missing("CREATE_REPLICATION_SLOT", "a row"))?;
        let consistent_point = row
            .get(1)
            .and_then(Option::as_deref)
            .and_then(|lsn| lsn.parse().ok())
            .ok_or_else(|| missing("CREATE_REPLICATION_SLOT", "a consistent point"))?;
        Ok(CreatedSlot {
            consistent_point,
            snapshot: row.into_iter().nth(2).flatten(),
        })
    }

    /// Has the server hand over a transaction under way once it needs `kilobytes` to keep it; a lower setting stays (Postgres 14 and later).
    pub(crate) async fn stream_from(&mut self, kilobytes: u32) -> Result<(), ReplicationError> {
        let sql = format!(
            "SELECT set_config(name, '{kilobytes}', false) FROM pg_settings \
             WHERE name = 'logical_decoding_work_mem' AND setting::int > {kilobytes}"
        );
        self.command(&sql).await.map(drop)
    }

    /// Starts streaming `slot` from `from`, with pgoutput's `options` (already quoted pairs).
    pub(crate) async fn start(
        mut self,
        slot: &str,
        from: Lsn,
        options: &[(&str, String)],
    ) -> Result<ReplicationStream, ReplicationError> {
        let options: Vec<String> = options
            .iter()
            .map(|(name, value)| format!("{} {}", identifier(name), literal(value)))
            .collect();
        let sql = format!(
            "START_REPLICATION SLOT {} LOGICAL {from} ({})",
            identifier(slot),
            options.join(", ")
        );
        self.session.write(|out| frontend::query(&sql, out)).await?;
        loop {
            // CopyBothResponse is the one message that postgres-protocol does not read.
            if self.session.peek_tag().await? == b'W' {
                self.session.skip_message().await?;
                return Ok(ReplicationStream::new(
                    self.session.wire,
                    self.session.incoming,
                ));
            }
            match self.session.read().await? {
                Message::ErrorResponse(body) => {
                    return Err(self.session.server_error(&body)?.into());
                }
                Message::NoticeResponse(_) | Message::ParameterStatus(_) => {}
                _ => return Err(missing("START_REPLICATION", "a CopyBoth response")),
            }
        }
    }

    async fn command(&mut self, sql: &str) -> Result<Vec<Row>, ReplicationError> {
        self.session.write(|out| frontend::query(sql, out)).await?;
        let (mut rows, mut failed) = (Vec::new(), None);
        loop {
            match self.session.read().await? {
                Message::DataRow(body) => {
                    let mut row = Row::new();
                    let mut ranges = body.ranges();
                    while let Some(range) = ranges.next()? {
                        row.push(range.map(|range| {
                            String::from_utf8_lossy(&body.buffer()[range]).into_owned()
                        }));
                    }
                    rows.push(row);
                }
                Message::ErrorResponse(body) => failed = Some(self.session.server_error(&body)?),
                Message::ReadyForQuery(_) => {
                    return match failed {
                        Some(error) => Err(error.into()),
                        None => Ok(rows),
                    };
                }
                _ => {}
            }
        }
    }
}

fn missing(command: &str, what: &str) -> ReplicationError {
    ReplicationError::Protocol(format!("{command} did not return {what}"))
}

/// A quoted literal of the replication grammar, which knows no backslashes.
fn literal(value: &str) -> String {
    format!("'{}'", value.replace('\'', "''"))
}

/// Messages over a wire.
pub(super) struct Session {
    wire: Box<dyn Wire>,
    incoming: BytesMut,
    outgoing: BytesMut,
}

impl Session {
    pub(super) async fn write(
        &mut self,
        message: impl FnOnce(&mut BytesMut) -> io::Result<()>,
    ) -> Result<(), ReplicationError> {
        self.outgoing.clear();
        message(&mut self.outgoing)?;
        self.wire.write_all(&self.outgoing).await?;
        self.wire.flush().await?;
        Ok(())
    }

    pub(super) async fn read(&mut self) -> Result<Message, ReplicationError> {
        loop {
            if let Some(message) = Message::parse(&mut self.incoming)? {
                return Ok(message);
            }
            self.fill().await?;
        }
    }

    pub(super) fn server_error(&self, body: &ErrorResponseBody) -> io::Result<ServerError> {
        ServerError::read(body.fields())
    }

    async fn peek_tag(&mut self) -> Result<u8, ReplicationError> {
        while self.incoming.is_empty() {
            self.fill().await?;
        }
        Ok(self.incoming[0])
    }

    async fn skip_message(&mut self) -> Result<(), ReplicationError> {
        loop {
            if let Some(header) = Header::parse(&self.incoming)? {
                let length = 1 + usize::try_from(header.len()).unwrap_or(4);
                if self.incoming.len() >= length {
                    self.incoming.advance(length);
                    return Ok(());
                }
            }
            self.fill().await?;
        }
    }

    async fn fill(&mut self) -> Result<(), ReplicationError> {
        if self.wire.read_buf(&mut self.incoming).await? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        Ok(())
    }
}
