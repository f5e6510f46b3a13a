//! Standard output: one structured-mode CloudEvent a line.
//!
//! A batch counts as durable once it was written and flushed; what reads the other end decides whether that means anything.
//! When the other end closes, the sink fails for good and says so.

mod sink;

pub use sink::StdoutSink;
