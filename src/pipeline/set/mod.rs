//! Set: attributes and members of JSON data, without a program.
//!
//! The text of the data is edited: what the step does not touch stays byte-identical.

mod config;
mod place;
mod step;

pub use config::{Config, Setting};
pub use place::{Place, PlaceError, misspelt};
pub use step::SetStep;
pub(in crate::pipeline) use step::change_attributes;
