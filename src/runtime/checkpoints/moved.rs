//! Lanes that a person moved (`headgate checkpoints set`). A sink that keeps a lane's checkpoint itself would bring back its own:
//! so it is told that this one counts. The first position that is stored for the lane after that ends it.

use headgate_sdk::{LaneId, Position};
use redb::{ReadableTableMetadata as _, TableDefinition};

use super::store::{CheckpointError, Checkpoints, POSITIONS};

/// Lanes that were moved.
const MOVED: TableDefinition<'_, &str, ()> = TableDefinition::new("moved");

impl Checkpoints {
    /// Sets where a lane that nobody uses resumes, whatever a sink has stored itself. On disk on return. Blocks.
    ///
    /// # Errors
    /// [`CheckpointError`] if the file cannot be written.
    pub fn move_lane(&self, lane: &LaneId, position: &Position) -> Result<(), CheckpointError> {
        self.database.change(|write| {
            let mut positions = write.open_table(POSITIONS)?;
            positions.insert(lane.as_str(), position.as_json())?;
            write.open_table(MOVED)?.insert(lane.as_str(), ())?;
            Ok(())
        })
    }

    /// Whether a person moved the lane, and no position was stored since.
    ///
    /// # Errors
    /// [`CheckpointError`] if the file cannot be read.
    pub fn is_moved(&self, lane: &LaneId) -> Result<bool, CheckpointError> {
        self.database.read(|read| match read.open_table(MOVED) {
            Ok(table) => Ok(table.get(lane.as_str())?.is_some()),
            Err(redb::TableError::TableDoesNotExist(_)) => Ok(false),
            Err(error) => Err(error.into()),
        })
    }
}

/// Positions of `lanes` are stored with `write`: who moved them is history.
pub(super) fn forget<'a>(
    write: &redb::WriteTransaction,
    lanes: impl Iterator<Item = &'a LaneId>,
) -> Result<(), redb::Error> {
    let mut moved = write.open_table(MOVED)?;
    if !moved.is_empty()? {
        for lane in lanes {
            moved.remove(lane.as_str())?;
        }
    }
    Ok(())
}
