//! All shapes together: what is read, what is defective, and that reading resumes anywhere.

use std::{fs::File, io::Write as _};

use proptest::prelude::*;

use super::*;

fn format(shape: Shape) -> Format {
    Format {
        shape,
        encoding: encoding_rs::UTF_8,
        max_record_bytes: 1 << 20,
        max_inflated_bytes: 1 << 30,
        may_grow: false,
    }
}

fn csv(header: bool) -> Format {
    format(Shape::Csv(Dialect {
        delimiter: b';',
        quote: Some(b'"'),
        header,
    }))
}

fn file(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file
}

/// Every record as `number@line text`, defects as `number@line:column !message`, the stream's own error last.
fn read_from(file: &File, format: &Format, place: Place) -> (Vec<String>, Place) {
    let mut reader = match Reader::open(file, format, place) {
        Ok(reader) => reader,
        Err(error) => return (vec![format!("error: {error}")], place),
    };
    let mut lines = Vec::new();
    let mut arena = Vec::new();
    loop {
        match reader.next(&mut arena) {
            Ok(Some(record)) => lines.push(match record.body {
                Ok(range) => {
                    let text = String::from_utf8_lossy(&arena[range]);
                    format!("{}@{} {text}", record.number, record.line)
                }
                Err(d) => format!("{}@{}:{} !{}", record.number, d.line, d.column, d.message),
            }),
            Ok(None) => break,
            Err(error) => {
                lines.push(format!("error: {error}"));
                break;
            }
        }
    }
    (lines, reader.place())
}

fn read(bytes: &[u8], format: &Format) -> String {
    read_from(&file(bytes), format, Place::START).0.join("\n")
}

#[test]
fn csv_becomes_objects_under_the_header() {
    let text = b"\xEF\xBB\xBFid;name;;name\n1;M\xC3\xBCller;x;y\r\n\r\n2;\"a;\"\"b\"\"\nc\";\t;\n3;no end;;";
    insta::assert_snapshot!(read(text, &csv(true)), @r#"
    0@2 {"id":"1","name":"Müller","column_3":"x","name_2":"y"}
    1@4 {"id":"2","name":"a;\"b\"\nc","column_3":"\t","name_2":""}
    2@6 {"id":"3","name":"no end","column_3":"","name_2":""}
    "#);
    assert_eq!(
        read(b"1;x\n2;y\n", &csv(false)),
        "0@1 [\"1\",\"x\"]\n1@2 [\"2\",\"y\"]"
    );
    assert_eq!(read(b"", &csv(true)), "");
}

#[test]
fn defective_csv_records_have_a_place_and_spoil_no_other() {
    let text = b"id;name\n1;x\n2\n3;y;z\n4;\xFFz\n\"5;open\n6;fine\n";
    insta::assert_snapshot!(read(text, &csv(true)), @r#"
    0@2 {"id":"1","name":"x"}
    1@3:2 !the record has 1 fields, the header names 2
    2@4:5 !the record has 3 fields, the header names 2
    3@5:3 !the record is not UTF-8: set `encoding` if the file is written in another one
    4@6:1 !a quote is opened here and never closed
    5@7 {"id":"6","name":"fine"}
    "#);
}

#[test]
fn other_encodings_become_utf8() {
    let mut latin = csv(true);
    latin.encoding = encoding_rs::WINDOWS_1252;
    assert_eq!(
        read(b"n\nM\xFCller \x80\n", &latin),
        "0@2 {\"n\":\"Müller €\"}"
    );
    let utf16: Vec<u8> = "\u{FEFF}n\nä\n"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    assert_eq!(read(&utf16, &csv(true)), "0@2 {\"n\":\"ä\"}");
}

#[test]
fn json_lines_and_plain_lines() {
    let text = b"{\"a\":1}\r\n\n{\"a\":}\n[2] x\nnull";
    insta::assert_snapshot!(read(text, &format(Shape::JsonLines)), @r#"
    0@1 {"a":1}
    1@3:6 !not valid JSON: expected value
    2@4:5 !not valid JSON: trailing characters
    3@5 null
    "#);
    assert_eq!(
        read(b" a\nb\r\n\nc", &format(Shape::Lines)),
        "0@1  a\n1@2 b\n2@4 c"
    );
}

#[test]
fn the_elements_of_an_array() {
    let text = b"\n[ {\"a\":[1,\"]\\\"\"]},\n {\"b\":x},\n 3 , \"s\" ]\n tail";
    insta::assert_snapshot!(read(text, &format(Shape::JsonArray)), @r#"
    0@2 {"a":[1,"]\""]}
    1@3:7 !not valid JSON: expected value
    2@4 3
    3@4 "s"
    4@5:2 !something follows the end of the JSON array
    "#);
    for (text, expected) in [
        ("[]", ""),
        ("", "error: the file is empty, a JSON array was expected"),
        ("{}", "error: the file does not start with `[`"),
        (
            "[1, {\"a\"",
            "0@1 1\nerror: the file ends before its JSON array does",
        ),
    ] {
        assert_eq!(read(text.as_bytes(), &format(Shape::JsonArray)), expected);
    }
}

#[test]
fn records_that_are_too_long_are_passed_over_in_bounded_memory() {
    let long = "x".repeat(3 << 20);
    for (text, shape) in [
        (format!("a\n{long}\nb\n"), Shape::Lines),
        (format!("1\n\"{long}\"\n2\n"), Shape::JsonLines),
        (format!("[1,\"{long}\",2]"), Shape::JsonArray),
    ] {
        let read = read(text.as_bytes(), &format(shape));
        let lines: Vec<_> = read.lines().collect();
        assert_eq!(lines.len(), 3, "{read:.200}");
        assert!(
            lines[1].contains("`max_record_size` allows 1048576"),
            "{:.200}",
            lines[1]
        );
    }
    let text = format!("id;n\n1;{long}\n2;b\n");
    let read = read(text.as_bytes(), &csv(true));
    assert!(
        read.contains("0@2:1 !the record has") && read.ends_with("1@3 {\"id\":\"2\",\"n\":\"b\"}"),
        "{read:.300}"
    );
}

#[test]
fn what_may_grow_ends_at_the_last_line_end() {
    for (shape, head, tail) in [
        (csv(true), "id;n\n1;\"a\nb\"\n", "2;\"c\n"),
        (format(Shape::Lines), "a\nb\n", "c"),
        (format(Shape::JsonLines), "1\n2\n", "3"),
    ] {
        let format = Format {
            may_grow: true,
            ..shape
        };
        let mut file = file(format!("{head}{tail}").as_bytes());
        let (before, place) = read_from(&file, &format, Place::START);
        assert_eq!(place.offset, head.len() as u64, "{before:?}");
        file.seek(SeekFrom::End(0)).unwrap();
        file.write_all(b"\"\n").unwrap();
        let (after, _) = read_from(&file, &format, place);
        assert_eq!(after.len(), 1);
        assert!(
            after[0].starts_with(&format!("{}@", before.len())),
            "{after:?}"
        );
    }
}

fn shapes() -> impl Strategy<Value = Format> {
    prop_oneof![
        Just(csv(true)),
        Just(csv(false)),
        Just(format(Shape::Lines)),
        Just(format(Shape::JsonLines)),
        Just(format(Shape::JsonArray)),
    ]
}

fn text() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop::sample::select(vec![
        &b"\n"[..],
        b"\r\n",
        b";",
        b"\"",
        b"1",
        b"\"a\"",
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b"\xC3\xA4",
        b"\xFF",
        b" ",
        b"null",
    ]);
    prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn resuming_after_any_record_gives_the_rest(
        format in shapes(),
        text in text(),
        packed: bool,
        array: bool,
    ) {
        let text = if array { [&b"["[..], &text, b"]"].concat() } else { text };
        let stored = if packed { zstd::encode_all(&text[..], 1).unwrap() } else { text };
        let file = file(&stored);
        let (all, _) = read_from(&file, &format, Place::START);
        let Ok(mut reader) = Reader::open(&file, &format, Place::START) else {
            return Ok(());
        };
        let mut places = vec![];
        while let Ok(Some(_)) = reader.next(&mut Vec::new()) {
            places.push(reader.place());
        }
        for (n, place) in places.iter().enumerate() {
            // Behind the end of an array, only white space and defects can follow: resuming there is not needed.
            let behind = format.shape == Shape::JsonArray && n + 1 == places.len();
            if !behind {
                let (rest, _) = read_from(&file, &format, *place);
                prop_assert_eq!(&rest[..], &all[n + 1..], "resumed at {:?}", place);
            }
        }
    }
}
