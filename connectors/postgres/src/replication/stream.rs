//! The CopyBoth stream: frames in, status updates out.

use std::io;

use bytes::{Buf, BufMut, BytesMut};
use postgres_protocol::message::backend::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{ReplicationError, ServerError, dial::Wire, error::left_out};
use crate::lsn::Lsn;

/// Room to read into at once; one system call then carries some thousand rows.
const READ_BYTES: usize = 256 << 10;

/// A frame larger than this is no row that Postgres can send.
const MAX_FRAME_BYTES: usize = 2 << 30;

/// A stream of changes.
pub(crate) struct ReplicationStream {
    wire: Box<dyn Wire>,
    incoming: BytesMut,
    /// Bytes of the frame that was handed out last; dropped when the next one is asked for.
    handed_out: usize,
    outgoing: BytesMut,
}

/// One message of the stream.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Frame<'a> {
    /// Output of the plugin.
    Data {
        /// Where the server's log ends, as far as it tells.
        wal_end: Lsn,
        /// One pgoutput message.
        payload: &'a [u8],
    },
    /// A sign of life.
    Keepalive {
        /// Everything before this was sent.
        wal_end: Lsn,
        /// Whether the server waits for a status update.
        reply: bool,
    },
}

impl ReplicationStream {
    pub(super) fn new(wire: Box<dyn Wire>, incoming: BytesMut) -> Self {
        Self {
            wire,
            incoming,
            handed_out: 0,
            outgoing: BytesMut::with_capacity(64),
        }
    }

    /// The next whole frame that is already here, without waiting.
    ///
    /// # Errors
    /// What the server says instead of a frame: an error, or the end of the stream.
    pub(crate) fn next(&mut self) -> Result<Option<Frame<'_>>, ReplicationError> {
        self.incoming.advance(self.handed_out);
        self.handed_out = 0;
        loop {
            let Some(header) = self.incoming.first_chunk::<5>() else {
                return Ok(None);
            };
            let length =
                1 + u32::from_be_bytes([header[1], header[2], header[3], header[4]]) as usize;
            if !(5..MAX_FRAME_BYTES).contains(&length) {
                return Err(ReplicationError::Protocol(format!(
                    "a message of {length} bytes"
                )));
            }
            let tag = header[0];
            if self.incoming.len() < length {
                return Ok(None);
            }
            if tag == b'd' {
                self.handed_out = length;
                return frame(&self.incoming[5..length]).map(Some);
            }
            self.other()?;
        }
    }

    /// Waits for more bytes. Cancel safe.
    ///
    /// # Errors
    /// A broken connection.
    pub(crate) async fn fill(&mut self) -> Result<(), ReplicationError> {
        self.incoming.advance(self.handed_out);
        self.handed_out = 0;
        self.incoming.reserve(READ_BYTES);
        if self.wire.read_buf(&mut self.incoming).await? == 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the server closed the connection",
            )
            .into());
        }
        Ok(())
    }

    /// Tells the server what is durable; `reply` asks it for a keepalive.
    ///
    /// # Errors
    /// A broken connection.
    pub(crate) async fn status(
        &mut self,
        received: Lsn,
        durable: Lsn,
        reply: bool,
    ) -> Result<(), ReplicationError> {
        self.outgoing.clear();
        self.outgoing.put_u8(b'd');
        self.outgoing.put_u32(4 + 1 + 8 * 4 + 1);
        self.outgoing.put_u8(b'r');
        self.outgoing.put_u64(received.0);
        self.outgoing.put_u64(durable.0);
        self.outgoing.put_u64(durable.0);
        self.outgoing.put_i64(postgres_micros());
        self.outgoing.put_u8(u8::from(reply));
        self.wire.write_all(&self.outgoing).await?;
        self.wire.flush().await?;
        Ok(())
    }

    /// Ends the stream in order, so that the slot is free at once.
    pub(crate) async fn close(mut self) {
        self.outgoing.clear();
        postgres_protocol::message::frontend::copy_done(&mut self.outgoing);
        postgres_protocol::message::frontend::terminate(&mut self.outgoing);
        // Whether the server still hears it changes nothing for what is durable.
        let _told = self.wire.write_all(&self.outgoing).await;
        let _closed = self.wire.shutdown().await;
    }

    /// Reads a message outside the copy data.
    fn other(&mut self) -> Result<(), ReplicationError> {
        match Message::parse(&mut self.incoming)? {
            Some(Message::ErrorResponse(body)) => Err(ServerError::read(body.fields())?.into()),
            Some(Message::NoticeResponse(body)) => match left_out(body.fields())? {
                Some(error) => Err(error.into()),
                None => Ok(()),
            },
            Some(Message::ParameterStatus(_)) => Ok(()),
            Some(Message::CopyDone | Message::CommandComplete(_)) => {
                Err(ReplicationError::Io(io::Error::new(
                    io::ErrorKind::ConnectionAborted,
                    "the server ended the stream (it is shutting down)",
                )))
            }
            Some(_) | None => Err(ReplicationError::Protocol(
                "an unexpected message in the stream".into(),
            )),
        }
    }
}

fn frame(body: &[u8]) -> Result<Frame<'_>, ReplicationError> {
    let lsn = |at: usize| {
        body.get(at..at + 8)
            .and_then(|bytes| bytes.try_into().ok())
            .map(|bytes| Lsn(u64::from_be_bytes(bytes)))
    };
    let read = match body.first() {
        Some(b'w') => lsn(9)
            .zip(body.get(25..))
            .map(|(wal_end, payload)| Frame::Data { wal_end, payload }),
        Some(b'k') => lsn(1)
            .zip(body.get(17))
            .map(|(wal_end, &reply)| Frame::Keepalive {
                wal_end,
                reply: reply != 0,
            }),
        _ => None,
    };
    read.ok_or_else(|| ReplicationError::Protocol("a copy message that is no frame".into()))
}

/// Microseconds since 2000-01-01, Postgres' clock.
fn postgres_micros() -> i64 {
    jiff::Timestamp::now().as_microsecond() - crate::pgoutput::POSTGRES_EPOCH_MICROS
}
