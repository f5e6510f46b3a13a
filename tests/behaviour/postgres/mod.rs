//! A gateway that reads from a real Postgres, killed with -9 again and again: folding what is in the embedded log, or what a
//! committed reader sees in Kafka, gives the tables.

mod commands;
mod database;
mod exactly_once;
mod figures;
mod fold;
mod identity;
mod idle;
mod on_demand;
mod rebuild;
mod snapshot;
mod supervised;
