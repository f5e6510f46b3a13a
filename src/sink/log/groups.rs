//! The cursors of named readers: `groups.json`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use headgate_sdk::Str;
use parking_lot::Mutex;

use super::LogError;
use crate::segment::{FileLayer, Sequence, read_file, replace_file};

const NAME: &str = "groups.json";

/// Group → the last position that it has.
pub(super) struct Groups {
    dir: PathBuf,
    files: Arc<dyn FileLayer>,
    cursors: Mutex<BTreeMap<Str, Sequence>>,
    /// Held while the file is replaced.
    storing: Mutex<()>,
}

impl Groups {
    pub(super) fn open(dir: PathBuf, files: Arc<dyn FileLayer>) -> Result<Self, LogError> {
        let failed = |source| LogError::Groups {
            action: "read",
            source,
        };
        let cursors = match read_file(&*files, &dir, NAME).map_err(failed)? {
            Some(text) => serde_json::from_slice(&text).map_err(|error| failed(error.into()))?,
            None => BTreeMap::new(),
        };
        Ok(Self {
            dir,
            files,
            cursors: Mutex::new(cursors),
            storing: Mutex::default(),
        })
    }

    pub(super) fn cursor(&self, group: &str) -> Option<Sequence> {
        self.cursors.lock().get(group).copied()
    }

    /// The cursor that is furthest behind.
    pub(super) fn first(&self) -> Option<Sequence> {
        self.cursors.lock().values().min().copied()
    }

    /// Stores that `group` has everything up to `position`. Blocks.
    pub(super) fn store(&self, group: &Str, position: Sequence) -> Result<(), LogError> {
        let _one_at_a_time = self.storing.lock();
        let text = {
            let mut cursors = self.cursors.lock();
            cursors.insert(group.clone(), position);
            serde_json::to_vec_pretty(&*cursors)
        };
        let failed = |source| LogError::Groups {
            action: "stored",
            source,
        };
        let text = text.map_err(|error| failed(error.into()))?;
        replace_file(&*self.files, &self.dir, NAME, &text).map_err(failed)
    }
}
