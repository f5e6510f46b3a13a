//! How a session with the server ends.

use headgate_sdk::{LaneError, SourceError};

use crate::{
    control::{SqlError, with_remedy},
    event::PublishError,
    pgoutput::DecodeError,
    replication::ReplicationError,
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
                message: exhausted(error.code.as_deref(), message),
                source: Some(Box::new(error)),
            })
        }
    }
}

/// What is in use up may become free again, and may need somebody.
fn exhausted(code: Option<&str>, message: String) -> String {
    match code {
        Some("53300" | "53400") => with_remedy(code, &message),
        _ => message,
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
            ReplicationError::Authentication(_) => true,
            ReplicationError::Tls(error) => error.stays(),
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
                message: exhausted(code, message),
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
