//! From Postgres' text to exact JSON, straight from one buffer into another.
//!
//! | type | JSON |
//! |---|---|
//! | `bool` | boolean |
//! | integers, `oid`, `xid`, `float4`, `float8` | number (`bigint` a string on request); NaN and ±Infinity strings |
//! | `numeric` | string (number on request) |
//! | `date`, `time`, `timestamp` and their zoned forms | ISO 8601 string; years outside 0–9999 with a sign and six digits |
//! | `interval` | ISO 8601 duration |
//! | `bytea` | base64 |
//! | `json`, `jsonb` | as it is |
//! | `hstore` | object |
//! | arrays | nested arrays (lower bounds other than 1 are not kept) |
//! | domains | as their base type |
//! | everything else, also what an extension brings | the server's text |
//!
//! Invariant: what is written is one JSON value, whatever the input was; a text that does not have its type's form is
//! written as a string.

mod array;
mod datetime;
mod hstore;
mod kind;
#[cfg(test)]
mod tests;
mod write;

pub(crate) use kind::{Kind, builtin};
pub use write::Numbers;
pub(crate) use write::{Rendering, write, write_json_string};
