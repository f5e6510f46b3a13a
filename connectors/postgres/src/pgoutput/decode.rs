//! Bytes to messages.

use super::message::{Column, Identity, Message, OldKind, POSTGRES_EPOCH_MICROS, Relation, Tuple};
use crate::lsn::Lsn;

/// Bytes that are no message of `pgoutput`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a pgoutput message of type `{}` cannot be read: {what}", self.tag.escape_ascii())]
pub(crate) struct DecodeError {
    tag: u8,
    what: &'static str,
}

/// Reads messages of one stream. It keeps one bit: whether it is between StreamStart and StreamStop, where every message
/// carries a transaction id.
#[derive(Debug, Clone, Default)]
pub(crate) struct Decoder {
    in_stream: bool,
    /// Protocol 4 with `streaming 'parallel'` adds place and time to StreamAbort.
    parallel: bool,
}

impl Decoder {
    /// A decoder for `streaming 'parallel'`, which this connector never asks for.
    #[cfg(test)]
    pub(super) fn parallel() -> Self {
        Self {
            parallel: true,
            ..Self::default()
        }
    }

    /// Whether the next message belongs to a block of a streamed transaction.
    pub(crate) fn in_stream(&self) -> bool {
        self.in_stream
    }

    /// Reads one message.
    ///
    /// # Errors
    /// [`DecodeError`] names the message's type and what is wrong with it.
    #[inline]
    pub(crate) fn decode<'a>(&mut self, bytes: &'a [u8]) -> Result<Message<'a>, DecodeError> {
        let message = decode(bytes, self.in_stream, self.parallel)?;
        match message {
            Message::StreamStart { .. } => self.in_stream = true,
            Message::StreamStop => self.in_stream = false,
            _ => {}
        }
        Ok(message)
    }
}

/// Reads one message; `in_stream` says whether transaction ids are present.
fn decode(bytes: &[u8], in_stream: bool, parallel: bool) -> Result<Message<'_>, DecodeError> {
    let (&tag, rest) = bytes.split_first().ok_or(DecodeError {
        tag: 0,
        what: "it is empty",
    })?;
    let mut input = Input { tag, rest };
    let message = input.message(in_stream, parallel)?;
    if input.rest.is_empty() {
        Ok(message)
    } else {
        Err(input.error("it is longer than its contents"))
    }
}

struct Input<'a> {
    tag: u8,
    rest: &'a [u8],
}

type Read<T> = Result<T, DecodeError>;

impl<'a> Input<'a> {
    #[inline]
    fn message(&mut self, in_stream: bool, parallel: bool) -> Read<Message<'a>> {
        Ok(match self.tag {
            b'I' => {
                let (xid, relation) = (self.xid(in_stream)?, self.u32()?);
                self.expect(b'N')?;
                Message::Insert {
                    xid,
                    relation,
                    new: self.tuple()?,
                }
            }
            b'U' => self.update(in_stream)?,
            b'D' => {
                let (xid, relation) = (self.xid(in_stream)?, self.u32()?);
                let kind = self.u8()?;
                let kind = self.old_kind(kind)?;
                Message::Delete {
                    xid,
                    relation,
                    old: (kind, self.tuple()?),
                }
            }
            b'B' => Message::Begin {
                commit: self.lsn()?,
                time: self.time()?,
                xid: self.u32()?,
            },
            b'C' => {
                self.u8()?;
                Message::Commit {
                    commit: self.lsn()?,
                    end: self.lsn()?,
                    time: self.time()?,
                }
            }
            b'O' => {
                self.lsn()?;
                Message::Origin {
                    name: self.string()?,
                }
            }
            b'R' => Message::Relation {
                xid: self.xid(in_stream)?,
                relation: self.relation()?,
            },
            b'Y' => Message::Type {
                xid: self.xid(in_stream)?,
                oid: self.u32()?,
                schema: self.string()?,
                name: self.string()?,
            },
            b'T' => self.truncate(in_stream)?,
            b'M' => self.emitted(in_stream)?,
            b'S' => Message::StreamStart {
                xid: self.u32()?,
                first: self.u8()? == 1,
            },
            b'E' => Message::StreamStop,
            b'c' => {
                let xid = self.u32()?;
                self.u8()?;
                Message::StreamCommit {
                    xid,
                    commit: self.lsn()?,
                    end: self.lsn()?,
                    time: self.time()?,
                }
            }
            b'A' => {
                let (xid, subxid) = (self.u32()?, self.u32()?);
                if parallel {
                    self.lsn()?;
                    self.time()?;
                }
                Message::StreamAbort { xid, subxid }
            }
            _ => return self.two_phase(),
        })
    }

    fn two_phase(&mut self) -> Read<Message<'a>> {
        Ok(match self.tag {
            b'b' => Message::BeginPrepare {
                prepare: self.lsn()?,
                end: self.lsn()?,
                time: self.time()?,
                xid: self.u32()?,
                gid: self.string()?,
            },
            b'P' => {
                self.u8()?;
                Message::Prepare {
                    prepare: self.lsn()?,
                    end: self.lsn()?,
                    time: self.time()?,
                    xid: self.u32()?,
                    gid: self.string()?,
                }
            }
            b'K' => {
                self.u8()?;
                Message::CommitPrepared {
                    commit: self.lsn()?,
                    end: self.lsn()?,
                    time: self.time()?,
                    xid: self.u32()?,
                    gid: self.string()?,
                }
            }
            b'r' => {
                self.u8()?;
                let (prepare_end, rollback_end) = (self.lsn()?, self.lsn()?);
                self.time()?;
                self.time()?;
                Message::RollbackPrepared {
                    prepare_end,
                    rollback_end,
                    xid: self.u32()?,
                    gid: self.string()?,
                }
            }
            b'p' => {
                self.u8()?;
                Message::StreamPrepare {
                    prepare: self.lsn()?,
                    end: self.lsn()?,
                    time: self.time()?,
                    xid: self.u32()?,
                    gid: self.string()?,
                }
            }
            _ => return Err(self.error("its type is unknown")),
        })
    }

    fn update(&mut self, in_stream: bool) -> Read<Message<'a>> {
        let (xid, relation) = (self.xid(in_stream)?, self.u32()?);
        let mut kind = self.u8()?;
        let mut old = None;
        if kind != b'N' {
            let old_kind = self.old_kind(kind)?;
            old = Some((old_kind, self.tuple()?));
            kind = self.u8()?;
        }
        if kind != b'N' {
            return Err(self.error("its new row is missing"));
        }
        Ok(Message::Update {
            xid,
            relation,
            old,
            new: self.tuple()?,
        })
    }

    fn truncate(&mut self, in_stream: bool) -> Read<Message<'a>> {
        let xid = self.xid(in_stream)?;
        let count = self.u32()? as usize;
        let options = self.u8()?;
        if count.checked_mul(4) != Some(self.rest.len()) {
            return Err(self.error("its list of tables does not fit"));
        }
        let relations = (0..count).map(|_| self.u32()).collect::<Read<_>>()?;
        Ok(Message::Truncate {
            xid,
            cascade: options & 1 != 0,
            restart_identity: options & 2 != 0,
            relations,
        })
    }

    fn emitted(&mut self, in_stream: bool) -> Read<Message<'a>> {
        let xid = self.xid(in_stream)?;
        let transactional = self.u8()? & 1 != 0;
        let (lsn, prefix) = (self.lsn()?, self.string()?);
        let length = self.u32()? as usize;
        Ok(Message::Emitted {
            xid,
            transactional,
            lsn,
            prefix,
            content: self.take(length)?,
        })
    }

    fn relation(&mut self) -> Read<Relation> {
        let id = self.u32()?;
        // The server shortens pg_catalog to nothing.
        let schema = match self.string()? {
            "" => "pg_catalog",
            schema => schema,
        };
        let name = self.string()?;
        let letter = self.u8()?;
        let identity = Identity::from_letter(letter)
            .ok_or_else(|| self.error("its replica identity is unknown"))?;
        let count = self.u16()?;
        let columns = (0..count)
            .map(|_| {
                Ok(Column {
                    key: self.u8()? & 1 != 0,
                    name: self.string()?.to_owned(),
                    type_oid: self.u32()?,
                    type_modifier: i32::from_be_bytes(self.u32()?.to_be_bytes()),
                })
            })
            .collect::<Read<_>>()?;
        Ok(Relation {
            id,
            schema: schema.to_owned(),
            name: name.to_owned(),
            identity,
            columns,
        })
    }

    #[inline]
    fn tuple(&mut self) -> Read<Tuple<'a>> {
        let count = self.u16()?;
        let start = self.rest;
        for _ in 0..count {
            match self.u8()? {
                b'n' | b'u' => {}
                b't' | b'b' => {
                    let length = self.u32()? as usize;
                    self.take(length)?;
                }
                _ => return Err(self.error("a column of unknown kind")),
            }
        }
        Ok(Tuple {
            count,
            bytes: &start[..start.len() - self.rest.len()],
        })
    }

    fn old_kind(&self, kind: u8) -> Read<OldKind> {
        match kind {
            b'K' => Ok(OldKind::Key),
            b'O' => Ok(OldKind::Full),
            _ => Err(self.error("its old row is of unknown kind")),
        }
    }

    fn expect(&mut self, byte: u8) -> Read<()> {
        if self.u8()? == byte {
            Ok(())
        } else {
            Err(self.error("its new row is missing"))
        }
    }

    #[inline]
    fn xid(&mut self, in_stream: bool) -> Read<Option<u32>> {
        in_stream.then(|| self.u32()).transpose()
    }

    fn lsn(&mut self) -> Read<Lsn> {
        self.chunk().map(|bytes| Lsn(u64::from_be_bytes(bytes)))
    }

    fn time(&mut self) -> Read<i64> {
        self.chunk()
            .map(|bytes| i64::from_be_bytes(bytes).saturating_add(POSTGRES_EPOCH_MICROS))
    }

    fn string(&mut self) -> Read<&'a str> {
        let end = self
            .rest
            .iter()
            .position(|&byte| byte == 0)
            .ok_or_else(|| self.error("a name has no end"))?;
        let (text, rest) = self.rest.split_at(end);
        self.rest = &rest[1..];
        std::str::from_utf8(text).map_err(|_| self.error("a name is not UTF-8"))
    }

    #[inline]
    fn u8(&mut self) -> Read<u8> {
        self.chunk::<1>().map(|[byte]| byte)
    }

    fn u16(&mut self) -> Read<u16> {
        self.chunk().map(u16::from_be_bytes)
    }

    #[inline]
    fn u32(&mut self) -> Read<u32> {
        self.chunk().map(u32::from_be_bytes)
    }

    #[inline]
    fn chunk<const N: usize>(&mut self) -> Read<[u8; N]> {
        let (chunk, rest) = self
            .rest
            .split_first_chunk::<N>()
            .ok_or_else(|| self.error("it is cut short"))?;
        self.rest = rest;
        Ok(*chunk)
    }

    #[inline]
    fn take(&mut self, length: usize) -> Read<&'a [u8]> {
        let (taken, rest) = self
            .rest
            .split_at_checked(length)
            .ok_or_else(|| self.error("it is cut short"))?;
        self.rest = rest;
        Ok(taken)
    }

    fn error(&self, what: &'static str) -> DecodeError {
        DecodeError {
            tag: self.tag,
            what,
        }
    }
}
