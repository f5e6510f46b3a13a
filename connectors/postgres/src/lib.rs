//! Headgate's `postgres` crate.
