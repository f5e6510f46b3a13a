//! What anybody may drop into a watched folder of records: nothing of it may panic or outgrow its bounds, what comes out is what it
//! claims to be, and reading resumes at any record with the same rest.

use std::{fs::File, io::Write as _};

use headgate_files::records::{
    Dialect, Format, KEPT_OF_DEFECT_BYTES, Place, Reader, Record, Shape,
};

/// Small, so that small inputs go beyond it.
const MAX_RECORD_BYTES: usize = 64;
const MAX_INFLATED_BYTES: u64 = 1 << 20;
/// A byte of text becomes at most six of JSON, and the names of the fields come along.
const MAX_BODY_BYTES: usize = 300 * 1024;
/// Places at which reading is resumed for trial.
const RESUMED: usize = 40;

/// Comma-separated values; the first byte chooses the dialect.
pub(crate) fn files_csv(data: &[u8]) {
    let Some((&choice, text)) = data.split_first() else {
        return;
    };
    let dialect = Dialect {
        delimiter: [b',', b';', b'\t', b'|'][usize::from(choice & 3)],
        quote: [Some(b'"'), Some(b'\''), None, Some(b'"')][usize::from(choice >> 2 & 3)],
        header: choice & 16 == 0,
    };
    read_and_resume(Shape::Csv(dialect), text);
}

/// One JSON text a line.
pub(crate) fn files_json_lines(data: &[u8]) {
    read_and_resume(Shape::JsonLines, data);
}

/// One JSON array.
pub(crate) fn files_json_array(data: &[u8]) {
    read_and_resume(Shape::JsonArray, data);
}

/// Plain lines; the first byte chooses the encoding.
pub(crate) fn files_lines(data: &[u8]) {
    let Some((&choice, text)) = data.split_first() else {
        return;
    };
    let encodings = [
        encoding_rs::UTF_8,
        encoding_rs::WINDOWS_1252,
        encoding_rs::UTF_16LE,
        encoding_rs::SHIFT_JIS,
    ];
    let mut format = format(Shape::Lines);
    format.encoding = encodings[usize::from(choice & 3)];
    read_all(&file(text), &format, Place::START, |_, _, _| {});
}

/// Whole files as they lie there, `.gz` and `.zst` among them.
pub(crate) fn files_compressed(data: &[u8]) {
    let compressed = data.starts_with(&[0x1F, 0x8B]) || data.starts_with(&[0x28, 0xB5, 0x2F, 0xFD]);
    let file = file(data);
    let end = read_all(&file, &format(Shape::Lines), Place::START, |_, _, _| {});
    if compressed && let Some(end) = end {
        assert!(
            end.offset <= MAX_INFLATED_BYTES,
            "more than the cap came out"
        );
    }
}

fn format(shape: Shape) -> Format {
    Format {
        shape,
        encoding: encoding_rs::UTF_8,
        max_record_bytes: MAX_RECORD_BYTES,
        max_inflated_bytes: MAX_INFLATED_BYTES,
        may_grow: false,
    }
}

fn file(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().expect("a temporary file");
    file.write_all(bytes).expect("room");
    file
}

/// Reads from `place` to the end, and says where that was if nothing broke.
fn read_all(
    file: &File,
    format: &Format,
    place: Place,
    mut seen: impl FnMut(&Record, &[u8], Place),
) -> Option<Place> {
    let mut reader = Reader::open(file, format, place).ok()?;
    let json = format.shape != Shape::Lines;
    let mut arena = Vec::new();
    let mut number = place.records;
    loop {
        arena.clear();
        let record = match reader.next(&mut arena) {
            Ok(Some(record)) => record,
            Ok(None) => return Some(reader.place()),
            Err(_) => return None,
        };
        assert_eq!(record.number, number, "records are counted without gaps");
        number += 1;
        let body = match &record.body {
            Ok(range) => {
                let body = &arena[range.clone()];
                assert!(body.len() <= MAX_BODY_BYTES, "{} bytes", body.len());
                let text = std::str::from_utf8(body).expect("text");
                if json {
                    serde_json::from_str::<serde::de::IgnoredAny>(text).expect("JSON");
                }
                body
            }
            Err(defect) => {
                assert!(defect.bytes.len() <= KEPT_OF_DEFECT_BYTES);
                assert!(defect.line >= 1 && defect.column >= 1);
                &[]
            }
        };
        seen(&record, body, reader.place());
    }
}

fn read_and_resume(shape: Shape, text: &[u8]) {
    let format = format(shape);
    let file = file(text);
    let mut all = Vec::new();
    let ended = read_all(&file, &format, Place::START, |record, body, place| {
        all.push((told(record, body), place));
    });
    for (index, (_, place)) in all.iter().enumerate().take(RESUMED) {
        // Behind the end of an array nothing is resumed: what may follow is white space and one defect.
        if format.shape == Shape::JsonArray && index + 1 >= all.len().saturating_sub(1) {
            break;
        }
        let mut rest = Vec::new();
        let ended_too = read_all(&file, &format, *place, |record, body, _| {
            rest.push(told(record, body));
        });
        assert_eq!(ended.is_some(), ended_too.is_some());
        let expected: Vec<_> = all[index + 1..].iter().map(|(told, _)| told).collect();
        let rest: Vec<_> = rest.iter().collect();
        assert_eq!(rest, expected, "resumed at {place:?}");
    }
}

fn told(record: &Record, body: &[u8]) -> String {
    let body = match &record.body {
        Ok(_) => String::from_utf8_lossy(body).into_owned(),
        // How many bytes a record beyond the bound has is counted as far as it was read at once.
        Err(defect) => format!("{}:{} {:.20}", defect.line, defect.column, defect.message),
    };
    format!("{}@{} {body}", record.number, record.line)
}
