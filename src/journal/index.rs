//! `lanes.json`: which lanes have records before a certain sequence. Replaced as a whole, by renaming.

use std::io;
use std::path::Path;

use headgate_sdk::Str;
use serde::{Deserialize, Serialize};

use crate::segment::{FileLayer, Sequence, read_file, replace_file};

const NAME: &str = "lanes.json";
const FORMAT: u32 = 1;

/// What was known when everything before `as_of` had been counted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Index {
    format: u32,
    pub(super) as_of: Sequence,
    pub(super) lanes: Vec<IndexedLane>,
}

/// One lane with records that are not released.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct IndexedLane {
    pub(super) id: Str,
    /// The first record that is not released, or a place before it.
    pub(super) hold_from: Sequence,
    /// The last record.
    pub(super) last: Sequence,
}

impl Index {
    pub(super) fn new(as_of: Sequence, lanes: Vec<IndexedLane>) -> Self {
        Self {
            format: FORMAT,
            as_of,
            lanes,
        }
    }

    /// The stored index. `None`: there is none, or it cannot be read; then all segments have to be.
    pub(super) fn load(dir: &Path, files: &dyn FileLayer) -> io::Result<Option<Self>> {
        let Some(text) = read_file(files, dir, NAME)? else {
            return Ok(None);
        };
        match serde_json::from_slice::<Self>(&text) {
            Ok(index) if index.format == FORMAT => Ok(Some(index)),
            _ => {
                tracing::warn!(path = %dir.join(NAME).display(), "index of lanes is unreadable: all segments are read");
                Ok(None)
            }
        }
    }

    pub(super) fn store(&self, dir: &Path, files: &dyn FileLayer) -> io::Result<()> {
        let text = serde_json::to_vec_pretty(self).map_err(io::Error::other)?;
        replace_file(files, dir, NAME, &text)
    }
}
