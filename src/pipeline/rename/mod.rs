//! Rename: gives members of JSON data another name or place; everything else stays byte-identical.

mod config;
mod step;

pub use config::Config;
pub use step::RenameStep;
