//! The walk of a file: `discovered → stable → published → acknowledged → archived`.
//!
//! What has not been sent yet needs no memory: a file that lies in its folder without a durable state is discovered again after a
//! crash. `published` lasts until its batch is durable; what is then stored is `acknowledged` (or `failed`), and what became of the
//! file afterwards is stored behind it. So each state survives a crash either in the folder or in the lane's checkpoint.

use serde::{Deserialize, Serialize};

/// Where a file is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileState {
    /// Seen; perhaps still being written.
    Discovered,
    /// Stood still, and is being read.
    Stable,
    /// Sent on its lane, not yet durable.
    Published,
    /// Durable: its event, its dead letter, or the fact that it is a duplicate. What remains is what is to be done with the file.
    Acknowledged,
    /// Moved or deleted, as configured.
    Archived,
    /// Taken as a whole into the dead letters; lies in the failed folder, or in its place if files are left there.
    Failed,
    /// No longer in the folder, by somebody else's hand.
    Gone,
}

/// What happens to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It was seen, in a version that is not known.
    Seen,
    /// It stood still for `settle`.
    Settled,
    /// It changed while it was read, or somebody still writes.
    Stirred,
    /// Its batch was sent.
    Sent,
    /// Its batch is durable.
    Durable,
    /// Its batch, which says that the file failed as a whole, is durable.
    DurablyFailed,
    /// It was moved or deleted by us.
    PutAway,
    /// It is not there any more.
    Vanished,
}

/// A step that cannot happen in a state: a mistake in the caller, not in the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a file that is {state:?} cannot take the step {step:?}")]
pub struct IllegalStep {
    /// Where it was.
    pub state: FileState,
    /// What was claimed to happen.
    pub step: Step,
}

impl FileState {
    /// All, in the order of the walk.
    pub const ALL: [Self; 7] = [
        Self::Discovered,
        Self::Stable,
        Self::Published,
        Self::Acknowledged,
        Self::Archived,
        Self::Failed,
        Self::Gone,
    ];

    /// The state after `step`.
    ///
    /// # Errors
    /// [`IllegalStep`].
    pub const fn after(self, step: Step) -> Result<Self, IllegalStep> {
        use FileState as S;
        Ok(match (self, step) {
            (S::Acknowledged | S::Archived | S::Failed | S::Gone | S::Discovered, Step::Seen)
            | (S::Stable, Step::Stirred) => S::Discovered,
            (S::Discovered, Step::Settled) => S::Stable,
            (S::Stable, Step::Sent) => S::Published,
            (S::Published, Step::Durable) => S::Acknowledged,
            (S::Published, Step::DurablyFailed) => S::Failed,
            (S::Acknowledged, Step::PutAway) => S::Archived,
            // A failed file is put away as well, by whomever, and stays one: when it comes back it is tried again.
            (S::Failed, Step::PutAway | Step::Vanished) => S::Failed,
            // What was sent goes on, whatever becomes of the file.
            (S::Published, Step::Vanished) => S::Published,
            (_, Step::Vanished) => S::Gone,
            (state, step) => return Err(IllegalStep { state, step }),
        })
    }

    /// Whether the state is kept in the checkpoint.
    #[must_use]
    pub const fn is_durable(self) -> bool {
        matches!(
            self,
            Self::Acknowledged | Self::Archived | Self::Failed | Self::Gone
        )
    }

    /// The word for it in entries, figures and `headgate files status`.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Discovered => "discovered",
            Self::Stable => "stable",
            Self::Published => "published",
            Self::Acknowledged => "acknowledged",
            Self::Archived => "archived",
            Self::Failed => "failed",
            Self::Gone => "gone",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(steps: &[Step]) -> Result<FileState, IllegalStep> {
        steps
            .iter()
            .try_fold(FileState::Discovered, |state, step| state.after(*step))
    }

    #[test]
    fn a_file_walks_to_its_archive() {
        use Step::{Durable, PutAway, Seen, Sent, Settled, Stirred};
        let archived = [Settled, Stirred, Settled, Sent, Durable, PutAway];
        assert_eq!(walk(&archived), Ok(FileState::Archived));
        assert_eq!(
            walk(&[Settled, Sent, Durable, Seen, Settled, Sent]),
            Ok(FileState::Published)
        );
    }

    #[test]
    fn nothing_is_put_away_before_it_is_durable() {
        for steps in [
            &[Step::PutAway][..],
            &[Step::Settled, Step::PutAway],
            &[Step::Settled, Step::Sent, Step::PutAway],
        ] {
            assert!(walk(steps).is_err());
        }
    }

    #[test]
    fn what_was_sent_is_not_forgotten_when_the_file_vanishes() {
        let steps = [Step::Settled, Step::Sent, Step::Vanished, Step::Durable];
        assert_eq!(walk(&steps), Ok(FileState::Acknowledged));
    }

    #[test]
    fn a_failed_file_stays_one_until_it_is_seen_again() {
        use Step::{DurablyFailed, PutAway, Seen, Sent, Settled, Vanished};
        let failed = [Settled, Sent, DurablyFailed, PutAway, Vanished];
        assert_eq!(walk(&failed), Ok(FileState::Failed));
        assert_eq!(FileState::Failed.after(Seen), Ok(FileState::Discovered));
    }

    #[test]
    fn every_state_may_be_seen_again_once_it_is_at_rest() {
        for state in FileState::ALL {
            assert_eq!(
                state.after(Step::Seen).is_ok(),
                state.is_durable() || state == FileState::Discovered,
                "{state:?}"
            );
        }
    }
}
