//! The control plane: everything that ordinary SQL can ask or do.

mod catalog;
mod check;
mod client;
mod inventory;
mod remedy;
mod setup;

pub(crate) use catalog::{
    Published, TableInfo, column_list, describe, kinds_of, left_out, published,
};
pub(crate) use check::{Finding, Weight, check};
pub(crate) use client::{Client, SqlError};
pub(crate) use inventory::{ServerFacts, server_facts, slot_facts};
pub(crate) use remedy::with_remedy;
pub(crate) use setup::{Plan, drop_plan, missing_tables, setup_plan};
