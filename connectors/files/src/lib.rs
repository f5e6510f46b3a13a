//! Watched folders: nothing missed, nothing twice, nothing half.

pub mod afterwards;
pub mod choice;
pub mod ledger;
pub mod media;
pub mod name;
pub mod read;
pub mod records;
pub mod stamp;
pub mod state;
pub mod watch;
