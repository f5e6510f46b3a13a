//! The source: HTTP requests become events.
//!
//! A request walks: method and client address → limits → body, within bytes and time → signature → handshake → inflation →
//! event → dedup → lane → answer. `handler` reads as that list.
//!
//! State: the ids of recent deliveries (`dedup`), which ride in the lane's batches; fetched keys; quarantined requests in
//! `scratch`.
//!
//! Invariants: nothing parses a body before its signature is verified, except where a scheme keeps its signature inside the
//! body; an event is answered with 2xx only once it is accepted (or durable, with `ack: sink`); of deliveries with one id, one
//! becomes an event; whatever a client can make grow has a bound.

mod address;
mod body;
mod build;
mod config;
mod crowd;
mod dedup;
mod doors;
mod email;
mod event;
mod failures;
mod handler;
mod handshake;
mod intake;
mod keys;
mod quarantine;
mod run;
mod within;

pub use body::{BodyError, inflate};
pub use build::WebhookSource;
pub use config::{
    Acknowledge, Config, DedupFrom, DedupRule, EventType, InboundEmail, OnInvalid, QuarantineRule,
    Respond, SignatureCovers, Tenant,
};
pub(crate) use doors::{path, paths, public_url, warnings};
