//! A running source.
//!
//! One task owns the replication connection: it decodes, writes events, sends batches and answers the server, also while it
//! waits for room. Beside it run a watch (heartbeats, figures, new tables) and the snapshot's readers, each on a session of
//! its own.
//!
//! Invariants: durable at the sinks, then the checkpoint, then the slot, in this order only; what the slot is told comes from
//! the stored checkpoint alone.

mod end;
mod feedback;
mod open;
mod recreate;
mod run;
mod schema;
mod stream;
mod watch;

pub use run::PostgresSource;

pub(crate) use end::End;
