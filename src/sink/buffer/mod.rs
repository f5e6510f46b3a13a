//! `buffer: log`: a sink behind an embedded log of its own.
//!
//! Lanes write to the log in `data_dir/buffers/{sink}` and go on; a pump reads it at its own pace and writes to the sink, with the
//! same layers as a lane would (dead letters, go-back-N, breaker, timeout). The sink may be away for as long as the log has room; then
//! lanes wait.
//!
//! Invariants: what the pump has not made durable at the sink is never deleted; the pump's position is stored before the log lets
//! go of what is behind it; records keep the order in which they entered the log.

mod pump;
mod sink;

pub use pump::Pump;
pub use sink::Buffered;

use headgate_sdk::LaneId;

/// The lane on which a sink's buffer is read; no source can have one of this name, because names have no colon.
#[must_use]
pub fn lane_of(sink: &str) -> LaneId {
    LaneId::from_stored(format!("buffer:{sink}/"))
}
