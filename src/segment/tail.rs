//! The newest frames, in memory, bounded in bytes.

use std::collections::VecDeque;

use super::Sequence;
use super::frame::Frame;

#[derive(Debug)]
pub(super) struct Tail {
    frames: VecDeque<Frame>,
    bytes: usize,
    max_bytes: usize,
}

impl Tail {
    pub(super) fn new(max_bytes: usize) -> Self {
        Self {
            frames: VecDeque::new(),
            bytes: 0,
            max_bytes,
        }
    }

    pub(super) fn push(&mut self, frame: Frame) {
        self.bytes += frame.weight();
        self.frames.push_back(frame);
        while self.bytes > self.max_bytes {
            let Some(oldest) = self.frames.pop_front() else {
                break;
            };
            self.bytes -= oldest.weight();
        }
    }

    /// The frame that holds `sequence` or, if that was skipped, the next one. `None`: too old, or not yet written.
    pub(super) fn find(&self, sequence: Sequence) -> Option<&Frame> {
        if self.frames.front()?.first > sequence {
            return None;
        }
        self.frames
            .get(self.frames.partition_point(|frame| frame.end() <= sequence))
    }
}
