//! The gateway: everything put together, started, changed while it runs, and shut down.
//!
//! Order of a start: lock `data_dir`, open stores, bring checkpoints up to what the sinks hold, then listen, then start sources.
//! Order of a shutdown: stop taking in, stop sources, drain lanes until the deadline, close sinks, close stores.

mod bury;
mod error;
mod handle;
mod protect;
mod publish;
mod reload;
mod replay;
mod retry;
mod start;

#[cfg(test)]
mod tests;

pub use error::{ReloadError, StartError};
pub use handle::{Gateway, GatewayReport, SinkReport};
pub use reload::Reloaded;
pub use replay::{ReplayFailure, Replayed, Way as ReplayWay};
pub use retry::{Retried, RetryError};
