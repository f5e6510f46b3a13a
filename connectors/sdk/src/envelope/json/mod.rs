//! The JSON event format and the JSON batch format.
//!
//! Source: CloudEvents 1.0.2, "JSON Event Format for CloudEvents". Reading is strict and keeps JSON data as the bytes that
//! came; writing gives one line without raw line breaks, whatever the data looked like.

mod escape;
mod read;
mod write;

pub use escape::write_string;
pub use read::{read, read_batch};
pub use write::{Writer, write, write_batch, write_json_line_text};

/// `content-type` of one event in JSON.
pub const CONTENT_TYPE: &str = "application/cloudevents+json";

/// `content-type` of a JSON array of events.
pub const BATCH_CONTENT_TYPE: &str = "application/cloudevents-batch+json";
