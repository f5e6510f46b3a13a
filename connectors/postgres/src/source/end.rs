//! How a session with the server ends.

use headgate_sdk::{LaneError, SourceError};

use crate::{
    control::SqlError, event::PublishError, pgoutput::DecodeError, replication::ReplicationError,
    spool::SpoolError,
};

/// Why a session ended; the variant says what the source does next.
#[derive(Debug)]
pub(crate) enum End {
    /// It was asked to.
    Shutdown,
    /// The source ends with this error.
    Source(SourceError),
    /// The slot or its log is gone.
    SlotLost(String),
    /// Transactions in progress need more room than they may have: receive them after their commit instead.
    SpoolFull(String),
}

impl From<SourceError> for End {
    fn from(error: SourceError) -> Self {
        Self::Source(error)
    }
}

impl From<LaneError> for End {
    fn from(error: LaneError) -> Self {
        Self::Source(error.into())
    }
}

impl From<SqlError> for End {
    fn from(error: SqlError) -> Self {
        let message = error.to_string();
        if error.needs_a_person() {
            Self::Source(SourceError::fatal(with_remedy(
                error.code.as_deref(),
                &message,
            )))
        } else {
            Self::Source(SourceError::Retriable {
                message,
                source: Some(Box::new(error)),
            })
        }
    }
}

impl From<ReplicationError> for End {
    fn from(error: ReplicationError) -> Self {
        let message = error.to_string();
        let code = error.sqlstate();
        let lost = match code {
            Some("58P01") => true,
            Some("55000") => {
                message.contains("can no longer get changes")
                    || message.contains("invalidated")
                    || message.contains("exceeded the maximum reserved size")
            }
            Some("42704") => message.contains("replication slot"),
            _ => false,
        };
        if lost {
            return Self::SlotLost(message);
        }
        let fatal = match &error {
            ReplicationError::Authentication(_) | ReplicationError::Tls(_) => true,
            ReplicationError::Protocol(_) => false,
            _ => code.is_some_and(|code| {
                code.starts_with("28")
                    || code.starts_with("3D")
                    || matches!(code, "42501" | "42704" | "0A000" | "42601")
            }),
        };
        if fatal {
            Self::Source(SourceError::Fatal {
                message: with_remedy(code, &message),
                source: Some(Box::new(error)),
            })
        } else {
            Self::Source(SourceError::Retriable {
                message,
                source: Some(Box::new(error)),
            })
        }
    }
}

impl From<DecodeError> for End {
    fn from(error: DecodeError) -> Self {
        Self::Source(SourceError::Retriable {
            message: error.to_string(),
            source: Some(Box::new(error)),
        })
    }
}

impl From<PublishError> for End {
    fn from(error: PublishError) -> Self {
        Self::Source(SourceError::Retriable {
            message: error.to_string(),
            source: Some(Box::new(error)),
        })
    }
}

impl From<SpoolError> for End {
    fn from(error: SpoolError) -> Self {
        match error {
            SpoolError::Full { .. } => Self::SpoolFull(error.to_string()),
            SpoolError::Io { .. } => Self::Source(SourceError::Retriable {
                message: error.to_string(),
                source: Some(Box::new(error)),
            }),
        }
    }
}

/// What mends an error of this SQLSTATE.
fn with_remedy(code: Option<&str>, message: &str) -> String {
    let remedy = match code {
        Some("28P01") => "the password in `url` is wrong, or the role has none",
        Some("28000") => {
            "pg_hba.conf has no line that lets this role in from here (logical replication needs one for the database, not for \
             `replication`)"
        }
        Some("3D000") => "the database in `url` does not exist",
        Some("42501") => {
            "a privilege is missing: `headgate postgres check` prints the SQL (ALTER ROLE … REPLICATION; GRANT SELECT ON …)"
        }
        Some("42704") if message.contains("publication") => {
            "the publication is gone: create it again with `headgate postgres setup`, drop the slot with `SELECT \
             pg_drop_replication_slot(…)` if the error stays (it decodes with the catalogue of that time), and take a new snapshot"
        }
        _ => "`headgate postgres check` says what is missing",
    };
    format!("{message}: {remedy}")
}
