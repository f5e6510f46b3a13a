//! The elements of one JSON array, found by their brackets, so that an element that is no JSON spoils no other.

use std::io;

use super::{Defect, Format, Found, KEPT_OF_DEFECT_BYTES, lines::check_json, window::Window};

/// Reads the elements of an array.
pub(super) struct JsonArray {
    window: Window,
    state: State,
    max: usize,
}

#[derive(PartialEq, Eq, Clone, Copy)]
enum State {
    /// Before `[`.
    Before,
    /// Inside, before an element, a comma or the end.
    Inside,
    /// Behind `]`.
    Behind,
}

impl JsonArray {
    pub(super) fn new(window: Window, resumed: bool, format: &Format) -> Self {
        Self {
            window,
            state: if resumed {
                State::Inside
            } else {
                State::Before
            },
            max: format.max_record_bytes,
        }
    }

    pub(super) fn window(&self) -> &Window {
        &self.window
    }

    pub(super) fn next(&mut self, arena: &mut Vec<u8>) -> io::Result<Option<Found>> {
        loop {
            let Some(byte) = self.next_visible()? else {
                return match self.state {
                    State::Behind => Ok(None),
                    State::Before => Err(broken("the file is empty, a JSON array was expected")),
                    State::Inside => Err(broken("the file ends before its JSON array does")),
                };
            };
            match (self.state, byte) {
                (State::Before, b'[') => self.state = State::Inside,
                (State::Before, _) => return Err(broken("the file does not start with `[`")),
                (State::Inside, b',') => {}
                (State::Inside, b']') => self.state = State::Behind,
                (State::Inside, _) => return self.element(arena).map(Some),
                (State::Behind, _) => {
                    let (offset, line) = (self.window.offset(), self.window.line());
                    let kept = self.window.bytes();
                    let kept = kept[..kept.len().min(KEPT_OF_DEFECT_BYTES)].to_vec();
                    let column = self.window.column();
                    while self.window.skip_line()?.1 {}
                    let message = "something follows the end of the JSON array";
                    let mut defect = Defect::at(&kept, line, 0, message);
                    defect.column += column;
                    let body = Err(defect);
                    return Ok(Some(Found { offset, line, body }));
                }
            }
            self.window.consume_counting(1);
        }
    }

    /// Passes over white space.
    fn next_visible(&mut self) -> io::Result<Option<u8>> {
        loop {
            let bytes = self.window.bytes();
            let blank = bytes
                .iter()
                .position(|b| !b.is_ascii_whitespace())
                .unwrap_or(bytes.len());
            let found = bytes.get(blank).copied();
            self.window.consume_counting(blank);
            if found.is_some() || !self.window.fill()? {
                return Ok(found);
            }
        }
    }

    fn element(&mut self, arena: &mut Vec<u8>) -> io::Result<Found> {
        let (offset, line) = (self.window.offset(), self.window.line());
        let mut scan = Scan::default();
        let mut scanned = 0;
        let mut dropped = 0;
        let mut kept = Vec::new();
        let end = loop {
            if let Some(end) = scan.find_end(&self.window.bytes()[scanned..]) {
                break scanned + end;
            }
            scanned = self.window.bytes().len();
            if scanned > self.max {
                // Too long: only its end is still looked for.
                if dropped == 0 {
                    kept = self.window.bytes()[..scanned.min(KEPT_OF_DEFECT_BYTES)].to_vec();
                }
                self.window.consume_counting(scanned);
                dropped += scanned;
                scanned = 0;
            }
            if !self.window.fill()? {
                return Err(broken("the file ends before its JSON array does"));
            }
        };
        if dropped > 0 {
            self.window.consume_counting(end);
            let bytes = (dropped + end) as u64;
            let body = Err(Defect::too_long(&kept, line, bytes, self.max));
            return Ok(Found { offset, line, body });
        }
        let raw = self.window.bytes()[..end].trim_ascii_end();
        let column = self.window.column();
        let body = std::str::from_utf8(raw)
            .map_err(|error| Defect::not_utf8(raw, line, error))
            .and_then(|text| check_json(text, line))
            .map_err(|mut defect| {
                if defect.line == line {
                    defect.column += column;
                }
                defect
            })
            .map(|()| {
                let start = arena.len();
                arena.extend_from_slice(raw);
                start..arena.len()
            });
        self.window.consume_counting(end);
        Ok(Found { offset, line, body })
    }
}

/// Finds the comma or bracket behind an element.
#[derive(Default)]
struct Scan {
    depth: usize,
    in_string: bool,
    escaped: bool,
}

impl Scan {
    fn find_end(&mut self, bytes: &[u8]) -> Option<usize> {
        for (at, &byte) in bytes.iter().enumerate() {
            if self.in_string {
                match byte {
                    _ if self.escaped => self.escaped = false,
                    b'\\' => self.escaped = true,
                    b'"' => self.in_string = false,
                    _ => {}
                }
                continue;
            }
            match byte {
                b'"' => self.in_string = true,
                b'{' | b'[' => self.depth += 1,
                b',' | b']' if self.depth == 0 => return Some(at),
                b'}' | b']' => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
        }
        None
    }
}

fn broken(message: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}
