//! Watched folders: nothing missed, nothing twice, nothing half.
//!
//! Staff, scanners and partners drop files into folders. This connector turns each complete one into an event, or each of its
//! records, exactly once per version of its content, and puts it away when the event is durable.
//!
//! | concept | where |
//! |---|---|
//! | what a source is told | [`config`] |
//! | which files are wanted | [`choice`], [`media`] |
//! | finding files, and when they are complete | [`watch`] |
//! | reading them | [`read`], [`records`] |
//! | which version is new | [`ledger`], [`stamp`] |
//! | the walk of a file | [`state`] |
//! | what becomes of it | [`afterwards`] |
//! | the running source | [`source`] |
//!
//! Invariants: events of the file system are hints, scans are the truth; a file is put away only after its event is in the stored
//! checkpoint; what is known of a file rides on the batch that carries its event; all memory is bounded except for about 40 bytes for
//! each file that lies in a folder and 10 for each that is remembered.

pub mod afterwards;
pub mod choice;
mod command;
pub mod config;
mod connector;
mod digest;
pub mod ledger;
pub mod media;
pub mod name;
pub mod read;
pub mod records;
pub mod source;
pub mod stamp;
pub mod state;
pub mod watch;

pub use connector::Files;
