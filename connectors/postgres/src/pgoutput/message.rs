//! What `pgoutput` says.

use crate::lsn::Lsn;

/// 2000-01-01 in microseconds since 1970.
pub(crate) const POSTGRES_EPOCH_MICROS: i64 = 946_684_800_000_000;

/// One message. Times are microseconds since 1970. `xid` is that of the (sub)transaction and present in streams only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Message<'a> {
    Begin {
        commit: Lsn,
        time: i64,
        xid: u32,
    },
    Commit {
        commit: Lsn,
        end: Lsn,
        time: i64,
    },
    Origin {
        name: &'a str,
    },
    Relation {
        xid: Option<u32>,
        relation: Relation,
    },
    Type {
        xid: Option<u32>,
        oid: u32,
        schema: &'a str,
        name: &'a str,
    },
    Insert {
        xid: Option<u32>,
        relation: u32,
        new: Tuple<'a>,
    },
    Update {
        xid: Option<u32>,
        relation: u32,
        old: Option<(OldKind, Tuple<'a>)>,
        new: Tuple<'a>,
    },
    Delete {
        xid: Option<u32>,
        relation: u32,
        old: (OldKind, Tuple<'a>),
    },
    Truncate {
        xid: Option<u32>,
        cascade: bool,
        restart_identity: bool,
        relations: Vec<u32>,
    },
    Emitted {
        xid: Option<u32>,
        transactional: bool,
        lsn: Lsn,
        prefix: &'a str,
        content: &'a [u8],
    },
    StreamStart {
        xid: u32,
        first: bool,
    },
    StreamStop,
    StreamCommit {
        xid: u32,
        commit: Lsn,
        end: Lsn,
        time: i64,
    },
    StreamAbort {
        xid: u32,
        subxid: u32,
    },
    BeginPrepare {
        prepare: Lsn,
        end: Lsn,
        time: i64,
        xid: u32,
        gid: &'a str,
    },
    Prepare {
        prepare: Lsn,
        end: Lsn,
        time: i64,
        xid: u32,
        gid: &'a str,
    },
    CommitPrepared {
        commit: Lsn,
        end: Lsn,
        time: i64,
        xid: u32,
        gid: &'a str,
    },
    RollbackPrepared {
        prepare_end: Lsn,
        rollback_end: Lsn,
        xid: u32,
        gid: &'a str,
    },
    StreamPrepare {
        prepare: Lsn,
        end: Lsn,
        time: i64,
        xid: u32,
        gid: &'a str,
    },
}

/// A table as the server describes it before its first change in a session and after every change of its shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Relation {
    pub(crate) id: u32,
    pub(crate) schema: String,
    pub(crate) name: String,
    pub(crate) identity: Identity,
    pub(crate) columns: Vec<Column>,
}

/// A published column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Column {
    /// Whether it belongs to the replica identity.
    pub(crate) key: bool,
    pub(crate) name: String,
    pub(crate) type_oid: u32,
    pub(crate) type_modifier: i32,
}

/// `REPLICA IDENTITY`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Identity {
    Default,
    Nothing,
    Full,
    Index,
}

impl Identity {
    /// The letter of `pg_class.relreplident`.
    pub(crate) fn from_letter(letter: u8) -> Option<Self> {
        Some(match letter {
            b'd' => Self::Default,
            b'n' => Self::Nothing,
            b'f' => Self::Full,
            b'i' => Self::Index,
            _ => return None,
        })
    }

    /// The word that `ALTER TABLE … REPLICA IDENTITY` takes.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Nothing => "nothing",
            Self::Full => "full",
            Self::Index => "index",
        }
    }
}

/// How much of the old row came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OldKind {
    /// The columns of the replica identity; the others are null.
    Key,
    /// All columns.
    Full,
}

/// A row: checked bytes that are read column by column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tuple<'a> {
    pub(super) count: u16,
    pub(super) bytes: &'a [u8],
}

/// A column of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ColumnValue<'a> {
    Null,
    /// TOASTed and not touched by this change: its value did not come.
    Unchanged,
    /// Text in the server's rendering (client encoding UTF-8).
    Text(&'a [u8]),
    /// Binary, which is never asked for.
    Binary(&'a [u8]),
}

impl<'a> Tuple<'a> {
    /// A row in the form that pgoutput gives it; `bytes` must hold `count` whole columns.
    pub(crate) fn new(count: u16, bytes: &'a [u8]) -> Self {
        Self { count, bytes }
    }

    /// How many columns it has.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn len(self) -> usize {
        usize::from(self.count)
    }

    /// Its columns in order.
    pub(crate) fn columns(self) -> Columns<'a> {
        Columns { bytes: self.bytes }
    }
}

/// Walks a tuple.
pub(crate) struct Columns<'a> {
    bytes: &'a [u8],
}

impl<'a> Iterator for Columns<'a> {
    type Item = ColumnValue<'a>;

    #[inline]
    fn next(&mut self) -> Option<ColumnValue<'a>> {
        let (&kind, rest) = self.bytes.split_first()?;
        if kind == b'n' || kind == b'u' {
            self.bytes = rest;
            return Some(if kind == b'n' {
                ColumnValue::Null
            } else {
                ColumnValue::Unchanged
            });
        }
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let (value, rest) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        self.bytes = rest;
        Some(if kind == b't' {
            ColumnValue::Text(value)
        } else {
            ColumnValue::Binary(value)
        })
    }
}
