//! Compressed files, opened with a cap on what may come out of them.

use std::io::{self, BufRead, BufReader, Chain, Cursor, Read};

/// How a file is compressed, told by its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// RFC 1952, also several members one after the other.
    Gzip,
    /// RFC 8878, also several frames.
    Zstd,
}

impl Compression {
    /// What the first bytes of a file say.
    #[must_use]
    pub fn detect(head: &[u8]) -> Self {
        if head.starts_with(&[0x1F, 0x8B]) {
            Self::Gzip
        } else if head.starts_with(&[0x28, 0xB5, 0x2F, 0xFD]) {
            Self::Zstd
        } else {
            Self::None
        }
    }
}

/// The message of the error that ends reading beyond the cap.
const CAP: &str = "the file inflates to more than `max_inflated_size` allows";

type Replayed<R> = Chain<Cursor<Vec<u8>>, R>;

enum Stream<R: Read> {
    Plain(Replayed<R>),
    Gzip(Box<flate2::bufread::MultiGzDecoder<BufReader<Replayed<R>>>>),
    Zstd(zstd::stream::read::Decoder<'static, BufReader<Replayed<R>>>),
}

/// A reader of the inflated bytes.
pub struct Inflated<R: Read> {
    stream: Stream<R>,
    compression: Compression,
    left: u64,
}

impl<R: Read> Inflated<R> {
    /// Looks at the first bytes of `reader` and inflates it if need be, up to `max_bytes`. The cap does not concern files that are
    /// not compressed.
    ///
    /// # Errors
    /// If reading fails, or a decoder cannot be set up.
    pub fn new(mut reader: R, max_bytes: u64) -> io::Result<Self> {
        let mut head = vec![0; 4];
        let mut filled = 0;
        while filled < head.len() {
            match reader.read(&mut head[filled..])? {
                0 => break,
                read => filled += read,
            }
        }
        head.truncate(filled);
        let compression = Compression::detect(&head);
        let whole = Cursor::new(head).chain(reader);
        let stream = match compression {
            Compression::None => Stream::Plain(whole),
            Compression::Gzip => Stream::Gzip(Box::new(flate2::bufread::MultiGzDecoder::new(
                BufReader::new(whole),
            ))),
            Compression::Zstd => Stream::Zstd(zstd::stream::read::Decoder::with_buffer(
                BufReader::new(whole),
            )?),
        };
        let left = match compression {
            Compression::None => u64::MAX,
            _ => max_bytes,
        };
        Ok(Self {
            stream,
            compression,
            left,
        })
    }

    /// How the file is compressed.
    #[must_use]
    pub const fn compression(&self) -> Compression {
        self.compression
    }
}

impl<R: Read> Read for Inflated<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = match &mut self.stream {
            Stream::Plain(stream) => return stream.read(buffer),
            Stream::Gzip(stream) => stream.read(buffer)?,
            Stream::Zstd(stream) => stream.read(buffer)?,
        };
        let Some(left) = self.left.checked_sub(read as u64) else {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, CAP));
        };
        self.left = left;
        Ok(read)
    }
}

/// Passes over `bytes` bytes of `reader`, to resume where a compressed or re-encoded stream was left.
///
/// # Errors
/// If reading fails, or ends before.
pub fn skip(reader: &mut impl BufRead, mut bytes: u64) -> io::Result<()> {
    while bytes > 0 {
        let available = reader.fill_buf()?.len();
        if available == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let step = usize::try_from(bytes).map_or(available, |bytes| bytes.min(available));
        reader.consume(step);
        bytes -= step as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn inflate(bytes: &[u8], cap: u64) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        Inflated::new(bytes, cap)?.read_to_end(&mut out)?;
        Ok(out)
    }

    #[test]
    fn plain_gzip_and_zstd_give_the_same_bytes() {
        let text = b"id;name\n1;x\n".repeat(1000);
        let mut two_members = gzip(&text[..5000]);
        two_members.extend(gzip(&text[5000..]));
        let zstd = zstd::encode_all(&text[..], 1).unwrap();
        for stored in [text.clone(), gzip(&text), two_members, zstd] {
            assert_eq!(inflate(&stored, text.len() as u64).unwrap(), text);
        }
        assert_eq!(inflate(b"", 0).unwrap(), b"");
        assert_eq!(inflate(b"abc", 0).unwrap(), b"abc");
    }

    #[test]
    fn a_bomb_stops_at_the_cap() {
        let zeros = vec![0; 1 << 20];
        for stored in [gzip(&zeros), zstd::encode_all(&zeros[..], 1).unwrap()] {
            let error = inflate(&stored, (1 << 20) - 1).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
        }
    }

    #[test]
    fn a_torn_file_is_an_error() {
        let whole = gzip(&b"some text ".repeat(100));
        assert!(inflate(&whole[..whole.len() / 2], u64::MAX).is_err());
    }

    #[test]
    fn skip_ends_exactly_there() {
        let mut reader = BufReader::with_capacity(3, &b"0123456789"[..]);
        skip(&mut reader, 7).unwrap();
        let mut rest = String::new();
        reader.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "789");
        assert!(skip(&mut &b"ab"[..], 3).is_err());
    }
}
