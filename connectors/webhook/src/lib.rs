//! Headgate's `webhook` crate.
