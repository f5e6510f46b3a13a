//! JSON string literals.

/// Appends `text` as a JSON string literal, quotes included. Escapes what RFC 8259 asks for and nothing else.
pub fn write_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut written = 0;
    while let Some(at) = next_escaped(bytes, written) {
        out.extend_from_slice(&bytes[written..at]);
        escape(bytes[at], out);
        written = at + 1;
    }
    out.extend_from_slice(&bytes[written..]);
    out.push(b'"');
}

fn next_escaped(bytes: &[u8], from: usize) -> Option<usize> {
    const LANES: usize = 16;
    let mut at = from;
    // Whole chunks first: the inner loop has no branches, so that it compiles to vector instructions.
    while let Some(chunk) = bytes.get(at..at + LANES) {
        let any = chunk
            .iter()
            .fold(false, |any, &byte| any | needs_escape(byte));
        if any {
            break;
        }
        at += LANES;
    }
    bytes[at..]
        .iter()
        .position(|&byte| needs_escape(byte))
        .map(|found| at + found)
}

const fn needs_escape(byte: u8) -> bool {
    (byte < 0x20) | (byte == b'"') | (byte == b'\\')
}

#[cold]
fn escape(byte: u8, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let short = match byte {
        b'"' => b'"',
        b'\\' => b'\\',
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        0x08 => b'b',
        0x0c => b'f',
        _ => {
            out.extend_from_slice(b"\\u00");
            out.push(HEX[usize::from(byte >> 4)]);
            out.push(HEX[usize::from(byte & 15)]);
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn writes_what_serde_json_writes(text in any::<String>()) {
            let mut out = Vec::new();
            super::write_string(&text, &mut out);
            prop_assert_eq!(out, serde_json::to_vec(&text).expect("a string"));
        }

        #[test]
        fn finds_escapes_in_long_text(head in "[a-zé]{0,40}", middle in "[\"\\\\\n\u{1}]{0,3}", tail in "[a-z]{0,40}") {
            let text = format!("{head}{middle}{tail}");
            let mut out = Vec::new();
            super::write_string(&text, &mut out);
            prop_assert_eq!(out, serde_json::to_vec(&text).expect("a string"));
        }
    }
}
