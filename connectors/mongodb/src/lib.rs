//! Headgate's `mongodb` crate.
