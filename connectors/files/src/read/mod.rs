//! Reading files that are complete.

pub mod content;
pub mod inflate;
pub mod open;

pub use content::{Content, Reading};
pub use inflate::{Compression, Inflated};
