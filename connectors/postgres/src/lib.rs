//! Change data capture from Postgres.

mod config;
mod event;
mod lsn;
mod pgoutput;
mod position;
mod replication;
mod spool;
mod types;

pub use config::Config;
