//! The HTTP binding: binary, structured and batched mode.
//!
//! Source: CloudEvents 1.0.2, "HTTP Protocol Binding for CloudEvents".

mod percent;
mod read;
mod write;

pub use percent::{decode_header_value, encode_header_value};
pub use read::{is_event, read};
pub use write::{write_binary, write_structured};
