//! The gateway's public listener: the only port that sources are reached on.
//!
//! Sources [mount](headgate_sdk::http::Mounts) handlers in the [`Router`]; the [`Listener`] accepts connections and bounds what a
//! client may do to it (open connections, slow headers, header size). Bodies are the handlers' business.
//!
//! Invariant: a path of the configuration never answers 404; until its source has mounted it, it answers 503.

mod listener;
mod router;
mod tls;

#[cfg(test)]
mod tests;

pub use listener::{ListenError, Listener};
pub use router::Router;
pub use tls::{Tls, TlsConfig, TlsError};
