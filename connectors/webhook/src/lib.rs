//! Headgate's `webhook` connector: vendors' deliveries, verified, deduplicated, and durable before they are answered.
//!
//! [`verify`] decides whether a request comes from whom it says; [`presets`] knows how each vendor does it.

pub mod presets;
pub mod verify;
