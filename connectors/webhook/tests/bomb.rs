//! A compressed gigabyte costs bounded memory. Alone in its process, because it reads the process's peak.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::{Read, Write};

use bytes::Bytes;
use headgate_webhook::source::{BodyError, inflate};
use http::{HeaderMap, HeaderValue};

const GIGABYTE: u64 = 1 << 30;
const MAX: usize = 8 << 20;

fn peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap();
    let kilobytes: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kilobytes * 1024
}

fn copy(mut into: impl Write) {
    let mut zeros = std::io::repeat(0).take(GIGABYTE);
    let mut chunk = vec![0; 1 << 20];
    loop {
        let read = zeros.read(&mut chunk).unwrap();
        if read == 0 {
            return;
        }
        into.write_all(&chunk[..read]).unwrap();
    }
}

#[test]
fn a_gigabyte_from_kilobytes_is_refused_in_bounded_memory() {
    let mut zstd = zstd::stream::Encoder::new(Vec::new(), 1).unwrap();
    copy(&mut zstd);
    let zstd = zstd.finish().unwrap();
    let mut nested = zstd::stream::Encoder::new(Vec::new(), 3).unwrap();
    nested.write_all(&zstd).unwrap();
    let nested = nested.finish().unwrap();
    assert!(nested.len() < 4096, "{} bytes", nested.len());
    let before = peak_bytes();
    for (coding, bomb) in [("zstd", zstd), ("zstd, zstd", nested)] {
        let mut headers = HeaderMap::new();
        headers.insert(
            http::header::CONTENT_ENCODING,
            HeaderValue::from_static(coding),
        );
        let outcome = inflate(&headers, &Bytes::from(bomb), MAX);
        assert_eq!(outcome, Err(BodyError::TooLarge(MAX)), "{coding}");
    }
    let grown = peak_bytes() - before;
    assert!(grown < 4 * MAX as u64, "{grown} bytes for a limit of {MAX}");
}
