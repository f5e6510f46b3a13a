//! 64 bits for a text, where the texts of millions would take too much memory or time.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::LazyLock;

/// Of the text that `parts` are when put together: the same within one run, and nobody can choose texts that have the same.
pub(crate) fn digest(parts: &[&str]) -> u64 {
    let mut hasher = hasher();
    for part in parts {
        hasher.write(part.as_bytes());
    }
    hasher.finish()
}

/// As [`digest`], of a number and bytes.
pub(crate) fn digest_of(number: u16, bytes: &[u8]) -> u64 {
    let mut hasher = hasher();
    hasher.write_u16(number);
    hasher.write(bytes);
    hasher.finish()
}

fn hasher() -> impl Hasher {
    static KEYS: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    KEYS.build_hasher()
}

/// Of what is a digest already, itself.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Digested(u64);

impl BuildHasher for Digested {
    type Hasher = Self;

    fn build_hasher(&self) -> Self {
        Self(0)
    }
}

impl Hasher for Digested {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write_u64(&mut self, digest: u64) {
        self.0 = digest;
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_same_however_a_text_is_cut() {
        let whole = digest(&["f//in/a.pdf"]);
        for cut in 0..11 {
            let (one, other) = "f//in/a.pdf".split_at(cut);
            assert_eq!(digest(&[one, "", other]), whole, "{cut}");
        }
        assert_ne!(digest(&["f//in/b.pdf"]), whole);
    }
}
