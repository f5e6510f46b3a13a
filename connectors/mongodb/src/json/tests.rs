use mongodb::bson::{
    Binary, Bson, DateTime, DbPointer, Decimal128, Document, JavaScriptCodeWithScope,
    RawDocumentBuf, Regex, Timestamp, doc, oid::ObjectId, spec::BinarySubtype,
};
use proptest::prelude::*;

use super::*;

fn write(document: &Document, format: JsonFormat) -> String {
    let raw = RawDocumentBuf::try_from(document).unwrap();
    let mut out = Vec::new();
    write_document(&raw, format, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn regex(pattern: &str, options: &str) -> Bson {
    Bson::RegularExpression(Regex {
        pattern: pattern.to_owned().try_into().unwrap(),
        options: options.to_owned().try_into().unwrap(),
    })
}

fn binary(subtype: BinarySubtype, bytes: &[u8]) -> Bson {
    Bson::Binary(Binary {
        subtype,
        bytes: bytes.to_vec(),
    })
}

/// Every type of BSON, at its edges.
fn table() -> Vec<(&'static str, Bson)> {
    let oid = ObjectId::parse_str("57e193d7a9cc81b4027498b5").unwrap();
    let date = |millis| Bson::DateTime(DateTime::from_millis(millis));
    let decimal = |text: &str| Bson::Decimal128(text.parse::<Decimal128>().unwrap());
    vec![
        ("string", "a\"\\\u{0}\u{1f}\u{7f}é\u{2028}😀".into()),
        ("empty string", "".into()),
        ("int32 min", i32::MIN.into()),
        ("int32 max", i32::MAX.into()),
        ("int64 min", i64::MIN.into()),
        ("int64 beyond doubles", 9_007_199_254_740_993_i64.into()),
        ("int64 small", 1_i64.into()),
        ("double one", 1.0.into()),
        ("double minus zero", (-0.0).into()),
        ("double smallest", 5e-324.into()),
        ("double largest", f64::MAX.into()),
        ("double long", 0.1.into()),
        ("double NaN", f64::NAN.into()),
        ("double infinity", f64::INFINITY.into()),
        ("double -infinity", f64::NEG_INFINITY.into()),
        ("decimal exact", decimal("0.10")),
        (
            "decimal largest",
            decimal("9.999999999999999999999999999999999E+6144"),
        ),
        ("decimal smallest", decimal("1E-6176")),
        ("decimal -0", decimal("-0")),
        ("decimal NaN", decimal("NaN")),
        ("decimal infinity", decimal("-Infinity")),
        ("true", true.into()),
        ("false", false.into()),
        ("null", Bson::Null),
        ("undefined", Bson::Undefined),
        ("min key", Bson::MinKey),
        ("max key", Bson::MaxKey),
        ("object id", oid.into()),
        ("date epoch", date(0)),
        ("date millis", date(1_356_351_330_501)),
        ("date 9999", date(253_402_300_799_999)),
        ("date 10000", date(253_402_300_800_000)),
        ("date before 1970", date(-1)),
        ("date min", date(i64::MIN)),
        ("date max", date(i64::MAX)),
        (
            "timestamp",
            Bson::Timestamp(Timestamp {
                time: u32::MAX,
                increment: 7,
            }),
        ),
        (
            "binary generic",
            binary(BinarySubtype::Generic, &[0, 1, 255]),
        ),
        ("binary empty", binary(BinarySubtype::Generic, &[])),
        ("binary old", binary(BinarySubtype::BinaryOld, &[1, 2])),
        ("uuid", binary(BinarySubtype::Uuid, &[7; 16])),
        ("uuid old", binary(BinarySubtype::UuidOld, &[7; 16])),
        ("md5", binary(BinarySubtype::Md5, &[7; 16])),
        ("encrypted", binary(BinarySubtype::Encrypted, &[7])),
        (
            "binary user defined",
            binary(BinarySubtype::UserDefined(0x80), &[7]),
        ),
        ("regex", regex("a\"/b\\d", "xi")),
        ("code", Bson::JavaScriptCode("f(\"x\")".into())),
        (
            "code with scope",
            Bson::JavaScriptCodeWithScope(JavaScriptCodeWithScope {
                code: "f".into(),
                scope: doc! { "n": 1_i64 },
            }),
        ),
        ("symbol", Bson::Symbol("s\"".into())),
        (
            "dbref",
            doc! { "$ref": "c", "$id": oid, "$db": "d", "extra": 1 }.into(),
        ),
        (
            "array",
            vec![
                Bson::Int32(1),
                Bson::Null,
                Bson::Array(vec![]),
                doc! {}.into(),
            ]
            .into(),
        ),
        (
            "document",
            doc! { "": 1, "a.b": { "$c": 2 }, "é\"": [] }.into(),
        ),
    ]
}

/// How an independent reader gets the value back: the library's own, from the text alone.
fn read(text: &str) -> Document {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn bytes(document: &Document) -> Vec<u8> {
    RawDocumentBuf::try_from(document).unwrap().into_bytes()
}

#[test]
fn every_type_has_the_form_that_the_specification_gives_it() {
    let mut lines = String::new();
    for (name, value) in table() {
        let document = doc! { "v": value };
        let [relaxed, canonical] =
            [JsonFormat::Relaxed, JsonFormat::Canonical].map(|f| write(&document, f));
        lines.push_str(&format!("{name}\n  {relaxed}\n  {canonical}\n"));
    }
    insta::assert_snapshot!(lines);
}

#[test]
fn canonical_comes_back_to_the_same_bytes() {
    for (name, value) in table() {
        // The reader sorts no options, the specification does.
        let value = if name == "regex" {
            regex("a\"/b\\d", "ix")
        } else {
            value
        };
        let document = doc! { "v": value };
        assert_eq!(
            bytes(&read(&write(&document, JsonFormat::Canonical))),
            bytes(&document),
            "{name}"
        );
    }
}

#[test]
fn relaxed_comes_back_to_the_same_values() {
    for (name, value) in table() {
        let text = write(&doc! { "v": value.clone() }, JsonFormat::Relaxed);
        let back = read(&text).remove("v").unwrap();
        let same = match (&value, &back) {
            (Bson::Int32(a), Bson::Int64(b)) => i64::from(*a) == *b,
            (Bson::Int64(a), Bson::Int32(b)) => *a == i64::from(*b),
            (Bson::Double(a), Bson::Double(b)) => {
                a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())
            }
            (Bson::RegularExpression(a), Bson::RegularExpression(b)) => a.pattern == b.pattern,
            (Bson::JavaScriptCodeWithScope(a), Bson::JavaScriptCodeWithScope(b)) => {
                a.code == b.code
            }
            (a, b) => a == b,
        };
        assert!(same, "{name}: {text} became {back:?}");
    }
}

#[test]
fn the_deprecated_pointer_has_its_form() {
    let text = r#"{"v":{"$dbPointer":{"$ref":"a.b","$id":{"$oid":"57e193d7a9cc81b4027498b5"}}}}"#;
    let document = read(text);
    assert!(matches!(
        document.get("v"),
        Some(Bson::DbPointer(DbPointer { .. }))
    ));
    assert_eq!(write(&document, JsonFormat::Relaxed), text);
    assert_eq!(write(&document, JsonFormat::Canonical), text);
}

#[test]
fn malformed_and_bottomless_documents_are_errors() {
    // A string that is not UTF-8.
    let bad = [14, 0, 0, 0, 2, b'v', 0, 2, 0, 0, 0, 0xff, 0, 0];
    let bad = RawDocument::from_bytes(&bad).unwrap();
    assert!(write_document(bad, JsonFormat::Relaxed, &mut Vec::new()).is_err());
    let mut deep = doc! {};
    for _ in 0..300 {
        deep = doc! { "d": deep };
    }
    let deep = RawDocumentBuf::try_from(&deep).unwrap();
    assert!(matches!(
        write_document(&deep, JsonFormat::Relaxed, &mut Vec::new()),
        Err(JsonError::TooDeep)
    ));
}

fn any_value() -> impl Strategy<Value = Bson> {
    let leaf = prop_oneof![
        any::<String>().prop_map(Bson::String),
        any::<i32>().prop_map(Bson::Int32),
        any::<i64>().prop_map(Bson::Int64),
        any::<u64>()
            .prop_map(|bits| Bson::Double(f64::from_bits(bits)))
            .prop_filter("one NaN", |v| !matches!(v, Bson::Double(d) if d.is_nan())),
        any::<bool>().prop_map(Bson::Boolean),
        any::<i64>().prop_map(|millis| Bson::DateTime(DateTime::from_millis(millis))),
        any::<[u8; 12]>().prop_map(|bytes| Bson::ObjectId(ObjectId::from_bytes(bytes))),
        (any::<u32>(), any::<u32>())
            .prop_map(|(time, increment)| Bson::Timestamp(Timestamp { time, increment })),
        (0x80_u8.., any::<Vec<u8>>()).prop_map(|(subtype, bytes)| Bson::Binary(Binary {
            subtype: BinarySubtype::UserDefined(subtype),
            bytes
        })),
        any::<i64>().prop_map(|n| Bson::Decimal128(n.to_string().parse().unwrap())),
        Just(Bson::Null),
        Just(Bson::MinKey),
        Just(Bson::MaxKey),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Bson::Array),
            // Keys that are no extended types of their own.
            prop::collection::vec(("[a-z.é\" ]{0,6}", inner), 0..6)
                .prop_map(|fields| Bson::Document(fields.into_iter().collect())),
        ]
    })
}

/// Also those that were given a meaning lately: compressed columns (07), sensitive data (08), vectors (09).
#[test]
fn every_subtype_of_binary_keeps_its_number() {
    for subtype in 0..=u8::MAX {
        let document = doc! { "v": binary(BinarySubtype::from(subtype), &[0, 1, 255]) };
        let expected =
            format!(r#"{{"v":{{"$binary":{{"base64":"AAH/","subType":"{subtype:02x}"}}}}}}"#);
        for format in [JsonFormat::Canonical, JsonFormat::Relaxed] {
            assert_eq!(write(&document, format), expected);
        }
    }
}

proptest! {
    #[test]
    fn any_document_comes_back_from_canonical(value in any_value()) {
        let document = doc! { "v": value };
        prop_assert_eq!(bytes(&read(&write(&document, JsonFormat::Canonical))), bytes(&document));
    }

    #[test]
    fn relaxed_is_always_json(value in any_value()) {
        let text = write(&doc! { "v": value }, JsonFormat::Relaxed);
        prop_assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok(), "{}", text);
    }

    #[test]
    fn outside_bytes_never_panic(bytes in any::<Vec<u8>>()) {
        if let Ok(document) = RawDocument::from_bytes(&bytes) {
            let _ = write_document(document, JsonFormat::Relaxed, &mut Vec::new());
            let _ = crate::change::Change::read(document);
        }
    }
}
