//! Media type by content, by name only where the content is plain text of some kind.

use std::path::Path;

/// How many of a file's first bytes [`detect`] wants to see.
pub const HEAD_BYTES: usize = 8192;

const OCTETS: &str = "application/octet-stream";

/// The media type of a file that starts with `head` and is called `path`.
///
/// Signatures decide; a name never turns bytes into text, nor a picture into a document. Text without a signature is told apart by
/// its name (`text/csv`, `message/rfc822`, …), else it is `text/plain`.
#[must_use]
pub fn detect(head: &[u8], path: &Path) -> &'static str {
    if let Some(kind) = infer::get(head)
        && kind.mime_type() != "text/plain"
    {
        return kind.mime_type();
    }
    if !is_text(head) {
        return OCTETS;
    }
    let extension = path
        .extension()
        .and_then(|extension| extension.to_str())
        .map(str::to_ascii_lowercase);
    match extension.as_deref() {
        Some("csv") => "text/csv",
        Some("tsv") => "text/tab-separated-values",
        Some("json") => "application/json",
        Some("jsonl" | "ndjson") => "application/x-ndjson",
        Some("xml") => "text/xml",
        Some("html" | "htm") => "text/html",
        Some("md") => "text/markdown",
        Some("eml") => "message/rfc822",
        Some("ics") => "text/calendar",
        Some("vcf") => "text/vcard",
        Some("yaml" | "yml") => "application/yaml",
        _ => "text/plain",
    }
}

/// Whether `head` looks like text: UTF-8 without NUL (cut anywhere), or an 8-bit encoding without control characters.
fn is_text(head: &[u8]) -> bool {
    if head.starts_with(&[0xFF, 0xFE]) || head.starts_with(&[0xFE, 0xFF]) {
        return true;
    }
    // Without branches inside a piece, so that many bytes are looked at together.
    let is_control = |b: u8| (b < 0x20) & !matches!(b, b'\t' | b'\n' | b'\r' | 0x0C | 0x1B);
    let has_control = |piece: &[u8]| piece.iter().fold(false, |any, &b| any | is_control(b));
    !head.chunks(256).any(has_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_decides_and_the_name_only_refines_text() {
        let cases: [(&[u8], &str, &str); 8] = [
            (b"%PDF-1.7\n", "scan.txt", "application/pdf"),
            (b"\x89PNG\r\n\x1a\n", "invoice.pdf", "image/png"),
            (b"id;name\n1;x\n", "export.CSV", "text/csv"),
            (b"{\"a\":1}", "a.json", "application/json"),
            (b"just words", "no-extension", "text/plain"),
            (b"\x00\x01\x02", "report.csv", "application/octet-stream"),
            (b"", "empty.csv", "text/csv"),
            (b"M\xfcller;1\n", "latin1.csv", "text/csv"),
        ];
        for (head, name, expected) in cases {
            assert_eq!(detect(head, Path::new(name)), expected, "{name}");
        }
    }
}
