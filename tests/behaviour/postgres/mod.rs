//! A gateway that reads from a real Postgres into the embedded log, killed with -9 again and again: folding what is in the log
//! gives the tables.

mod commands;
mod database;
mod fold;
mod rebuild;
mod snapshot;
