//! The common record in one pass over its bytes, 64 at a time: whole in the window, quotes where they belong, as many fields as
//! there should be. Everything else is left to the parser, which gives the same for these and knows what to say about others.

use super::{Dialect, reader::escape};

/// Bytes that are looked at together.
const BLOCK: usize = 64;
/// A byte that is never special, whatever the dialect.
const PADDING: u8 = 0x7F;

/// Turns records into JSON.
pub(super) struct Fast {
    delimiter: u8,
    quote: Option<u8>,
    /// What stands before each value, from the end of the one before.
    pieces: Vec<Vec<u8>>,
    /// Before values beyond those; `None` if there may be no more.
    more: Option<&'static [u8]>,
    end: &'static [u8],
    /// Bytes that need a look, besides control characters.
    needles: [u8; 3],
    /// Larger records are left to the parser.
    max: usize,
}

/// A record that is rendered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Passed {
    /// Bytes of the window that it takes.
    pub(super) bytes: usize,
    /// Line ends in them.
    pub(super) lines: u64,
}

impl Fast {
    /// For records under `keys` (`"name":` each), or of any number of fields without.
    pub(super) fn new(dialect: &Dialect, keys: Option<&[Vec<u8>]>, max: usize) -> Self {
        let mut pieces = Vec::new();
        match keys {
            None => pieces.push(b"[\"".to_vec()),
            Some(keys) => {
                for (index, key) in keys.iter().enumerate() {
                    let before: &[u8] = if index == 0 { b"{" } else { b"\"," };
                    pieces.push([before, key, b"\""].concat());
                }
            }
        }
        Self {
            delimiter: dialect.delimiter,
            quote: dialect.quote,
            pieces,
            more: keys.is_none().then_some(b"\",\""),
            end: if keys.is_none() { b"\"]" } else { b"\"}" },
            needles: [dialect.delimiter, dialect.quote.unwrap_or(b'"'), b'"'],
            max,
        }
    }

    /// Renders the record at the start of `bytes` to the end of `arena`. `None`: it is not one for here, and nothing happened.
    pub(super) fn record(&self, bytes: &[u8], arena: &mut Vec<u8>) -> Option<Passed> {
        let start = arena.len();
        let passed = self.render(bytes, arena);
        if passed.is_none() {
            arena.truncate(start);
        }
        passed
    }

    fn render(&self, bytes: &[u8], arena: &mut Vec<u8>) -> Option<Passed> {
        let mut specials = Specials::new(bytes, &self.needles);
        let mut lines = 1;
        let mut field = 0;
        let mut at = 0;
        loop {
            let piece = self.pieces.get(field).map(Vec::as_slice).or(self.more)?;
            arena.extend_from_slice(piece);
            field += 1;
            let end = if self.quote.is_some() && bytes.get(at).copied() == self.quote {
                specials.next()?;
                self.quoted(bytes, at + 1, &mut specials, &mut lines, arena)?
            } else {
                self.plain(bytes, at, &mut specials, arena)?
            };
            at = end + 1;
            match *bytes.get(end)? {
                byte if byte == self.delimiter => continue,
                b'\n' => {}
                b'\r' if bytes.get(at) == Some(&b'\n') => at += 1,
                _ => return None,
            }
            let complete = self.more.is_some() || field == self.pieces.len();
            if !complete || at > self.max {
                return None;
            }
            if specials.any_high && std::str::from_utf8(&bytes[..at]).is_err() {
                return None;
            }
            arena.extend_from_slice(self.end);
            return Some(Passed { bytes: at, lines });
        }
    }

    /// Writes the field that starts at `from` without a quote, and returns where it ends.
    fn plain(
        &self,
        bytes: &[u8],
        mut from: usize,
        specials: &mut Specials<'_>,
        arena: &mut Vec<u8>,
    ) -> Option<usize> {
        loop {
            let at = specials.next()?;
            let byte = bytes[at];
            if byte == self.delimiter || byte == b'\n' || byte == b'\r' {
                arena.extend_from_slice(&bytes[from..at]);
                return Some(at);
            }
            if wants_escape(byte) {
                arena.extend_from_slice(&bytes[from..at]);
                escape(arena, byte);
                from = at + 1;
            }
        }
    }

    /// Writes the field whose opening quote stands before `from`, and returns where what follows its closing quote stands.
    fn quoted(
        &self,
        bytes: &[u8],
        mut from: usize,
        specials: &mut Specials<'_>,
        lines: &mut u64,
        arena: &mut Vec<u8>,
    ) -> Option<usize> {
        loop {
            let at = specials.next()?;
            let byte = bytes[at];
            if Some(byte) == self.quote {
                arena.extend_from_slice(&bytes[from..at]);
                if bytes.get(at + 1).copied() != self.quote {
                    // Whatever follows: only what ends a field is special, and right here.
                    return specials.next().filter(|next| *next == at + 1);
                }
                specials.next()?;
                if wants_escape(byte) {
                    escape(arena, byte);
                } else {
                    arena.push(byte);
                }
                from = at + 2;
            } else if wants_escape(byte) {
                *lines += u64::from(byte == b'\n');
                arena.extend_from_slice(&bytes[from..at]);
                escape(arena, byte);
                from = at + 1;
            }
        }
    }
}

fn wants_escape(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

/// The places of special bytes, in order.
struct Specials<'a> {
    bytes: &'a [u8],
    needles: &'a [u8; 3],
    /// Special bytes of the present block that were not told yet, one bit each.
    mask: u64,
    /// Where the next block starts.
    next: usize,
    /// Whether any block so far held a byte that is not ASCII.
    any_high: bool,
}

impl<'a> Specials<'a> {
    fn new(bytes: &'a [u8], needles: &'a [u8; 3]) -> Self {
        Self {
            bytes,
            needles,
            mask: 0,
            next: 0,
            any_high: false,
        }
    }

    #[inline]
    fn next(&mut self) -> Option<usize> {
        while self.mask == 0 {
            self.load()?;
        }
        let at = self.next - BLOCK + self.mask.trailing_zeros() as usize;
        self.mask &= self.mask - 1;
        Some(at)
    }

    #[inline]
    fn load(&mut self) -> Option<()> {
        let rest = self.bytes.get(self.next..)?;
        if let Some(block) = rest.first_chunk() {
            self.look_at(block);
        } else if rest.is_empty() {
            return None;
        } else {
            // Nothing behind the end is special.
            let mut block = [PADDING; BLOCK];
            block[..rest.len()].copy_from_slice(rest);
            self.look_at(&block);
            self.mask &= (1 << rest.len()) - 1;
        }
        self.next += BLOCK;
        Some(())
    }

    /// Without branches, so that the compiler makes vectors of it.
    #[inline]
    fn look_at(&mut self, block: &[u8; BLOCK]) {
        let [delimiter, quote, more] = *self.needles;
        let mut found = [0_u8; BLOCK];
        let mut all = 0;
        for (found, &byte) in found.iter_mut().zip(block) {
            *found = u8::from(byte == delimiter)
                | u8::from(byte == quote)
                | u8::from(byte == more)
                | u8::from(byte == b'\\')
                | u8::from(byte < 0x20);
            all |= byte;
        }
        self.any_high |= all >= 0x80;
        self.mask = 0;
        for (index, eight) in found.chunks_exact(8).enumerate() {
            let mut word = [0; 8];
            word.copy_from_slice(eight);
            // The lowest bits of eight bytes, side by side in the highest byte.
            let bits = u64::from_le_bytes(word).wrapping_mul(0x0102_0408_1020_4080) >> 56;
            self.mask |= bits << (8 * index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_the_special_bytes_are_found() {
        let needles = [b',', b'\'', b'"'];
        let bytes: Vec<u8> = (0..=255).collect();
        let mut specials = Specials::new(&bytes, &needles);
        let found: Vec<_> = std::iter::from_fn(|| specials.next()).collect();
        let expected: Vec<_> = (0..0x20).chain([0x22, 0x27, 0x2C, 0x5C]).collect();
        assert_eq!(found, expected);
        assert!(specials.any_high);
    }

    #[test]
    fn what_is_not_plain_is_left_alone() {
        let dialect = Dialect {
            delimiter: b',',
            quote: Some(b'"'),
            header: true,
        };
        let keys = [b"\"a\":".to_vec(), b"\"b\":".to_vec()];
        let fast = Fast::new(&dialect, Some(&keys), 64);
        let padding = " ".repeat(16);
        let mut arena = b"before".to_vec();
        for left in [
            "1\n",
            "1,2,3\n",
            "\"1\" x,2\n",
            "\"1,2\n",
            "1,2\rx",
            "1,2",
            &format!("1,{}\n", "x".repeat(64)),
        ] {
            let text = format!("{left}{padding}");
            assert_eq!(fast.record(text.as_bytes(), &mut arena), None, "{left:?}");
            assert_eq!(arena, b"before");
        }
        assert_eq!(fast.record(b"1,\xFF\n         ", &mut arena), None);
        let text = format!("1\\,\"x\n\"\"y\"\"\"\r\n{padding}");
        let passed = fast.record(text.as_bytes(), &mut arena);
        assert_eq!(
            passed,
            Some(Passed {
                bytes: 14,
                lines: 2
            })
        );
        assert_eq!(arena, br#"before{"a":"1\\","b":"x\n\"y\""}"#);
    }
}
