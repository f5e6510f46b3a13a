//! Change data capture from Postgres.
//!
//! | part | does |
//! |---|---|
//! | `replication` | the replication connection: startup, TLS, SCRAM, CopyBoth |
//! | `pgoutput` | decodes what the server's plugin says |
//! | `types` | writes Postgres' text as exact JSON |
//! | `event` | follows transactions and writes envelopes |
//! | `spool` | keeps transactions that have not committed |
//! | `snapshot` | reads what exists already, between watermarks |
//! | `control` | the control plane: catalogue, checks, setup |
//! | `source` | puts them together: one session after the other |

mod command;
mod config;
mod connector;
mod control;
mod event;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod lsn;
mod pgoutput;
mod position;
mod replication;
mod snapshot;
mod source;
mod spool;
mod sql;
mod types;

pub use config::{
    Config, Fullness, OnLostSlot, Origin, Outbox, SnapshotConfig, SnapshotMode, TableOptions,
};
pub use connector::Postgres;
pub use source::PostgresSource;
pub use types::Numbers;
