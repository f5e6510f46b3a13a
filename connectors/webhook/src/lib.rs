//! Headgate's `webhook` connector: vendors' deliveries, verified, deduplicated, and durable before they are answered.
//!
//! | to | see |
//! |---|---|
//! | know whether a request comes from whom it says | [`verify`] |
//! | know how each vendor does it | [`presets`] |
//! | turn requests into events | [`source`] |
//! | check, sign and send by hand | [`command`] |

mod client;
pub mod command;
mod connector;
mod multipart;
pub mod presets;
pub mod source;
pub mod verify;

pub use connector::Webhook;
