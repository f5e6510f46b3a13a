//! The configuration: one YAML file, read once, judged whole, and only then turned into types.
//!
//! The way of a file through this module, one step per file here:
//!
//! 1. `parse`: text to a `tree` in which every key and value knows its line and column.
//! 2. `resolve`: `${ENV}`, `${ENV:-default}` and `file:` are filled in; what came from outside is never shown again.
//! 3. `check`: the whole tree against the generated JSON Schema ([`schema`]); `explain` turns each violation into what is
//!    wrong and what to write instead.
//! 4. `load`: serde reads each part that has no mistake so far, and every connector, step and sink judges its own part.
//! 5. `across`: what only the sections together can say: names that point nowhere, paths mounted twice.
//!
//! All five add to one list, ordered by place, so that one run of `headgate validate` shows everything. Nothing here does I/O
//! except reading the file itself and the files that `file:` names.

mod across;
mod check;
mod document;
mod error;
mod explain;
mod load;
mod model;
mod parse;
mod reference;
mod resolve;
mod schema;
mod suggest;
mod tree;

#[cfg(test)]
pub(crate) mod tests;

pub use document::document;
pub use error::{ConfigError, Finding};
pub use load::{DEFAULT_FILE, LoadError, Loaded, Loader, Outline, json_pointer};
pub use model::{
    Admin, Config, DEFAULT_PIPELINE, DEFAULT_SINK, Globals, Http, Keys, Limits, Sink, Source,
    SourceCommon,
};
pub use reference::{connector_page, reference_page};
pub use schema::schema;
