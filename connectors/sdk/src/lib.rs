//! Headgate's `sdk` crate.
