//! Headgate's `files` crate.
