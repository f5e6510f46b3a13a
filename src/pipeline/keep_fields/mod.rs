//! Keep fields: a thin event, only what is named stays of JSON data, each value byte-identical.

mod config;
mod step;

pub use config::Config;
pub use step::KeepFieldsStep;
