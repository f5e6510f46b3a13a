//! Validate: data against a JSON Schema from a file: draft 2020-12, or the one that its `$schema` names.
//!
//! A valid event gets the schema's address as `dataschema`.

mod config;
mod schema_file;
mod step;
#[cfg(feature = "vrl")]
mod value;

pub use config::{Config, OnInvalid};
pub use schema_file::SchemaFile;
pub use step::{TAG, ValidateStep};

#[cfg(test)]
mod tests;
