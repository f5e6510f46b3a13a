use proptest::prelude::*;

use super::*;

fn json(kind: &Kind, text: &str) -> String {
    let mut out = Vec::new();
    write(kind, text, Rendering::default(), &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn numbers_keep_their_digits() {
    let big = "9223372036854775807";
    assert_eq!(json(&Kind::BigInteger, big), big);
    assert_eq!(json(&Kind::Float, "1e-05"), "1e-05");
    assert_eq!(json(&Kind::Float, "-0"), "-0");
    assert_eq!(json(&Kind::Float, "NaN"), "\"NaN\"");
    assert_eq!(json(&Kind::Float, "-Infinity"), "\"-Infinity\"");
    assert_eq!(json(&Kind::Numeric, "1.500"), "\"1.500\"");
    let numbers = Rendering {
        bigint: Numbers::String,
        numeric: Numbers::Number,
    };
    let mut out = Vec::new();
    write(&Kind::Numeric, "1.500", numbers, &mut out);
    write(&Kind::Numeric, "NaN", numbers, &mut out);
    write(&Kind::BigInteger, big, numbers, &mut out);
    assert_eq!(out, format!("1.500\"NaN\"\"{big}\"").as_bytes());
}

#[test]
fn instants_cover_the_whole_range() {
    for (text, expected) in [
        (
            "2024-01-02 03:04:05.000006",
            "\"2024-01-02T03:04:05.000006\"",
        ),
        ("4713-01-01 00:00:00 BC", "\"-004712-01-01T00:00:00\""),
        ("0001-12-31 23:59:59 BC", "\"0000-12-31T23:59:59\""),
        (
            "294276-12-31 23:59:59.999999",
            "\"+294276-12-31T23:59:59.999999\"",
        ),
        ("infinity", "\"infinity\""),
        ("-infinity", "\"-infinity\""),
    ] {
        assert_eq!(json(&Kind::Timestamp, text), expected);
    }
    assert_eq!(
        json(&Kind::TimestampTz, "2024-01-02 03:04:05+00"),
        "\"2024-01-02T03:04:05Z\""
    );
    assert_eq!(json(&Kind::Date, "5874897-12-31"), "\"+5874897-12-31\"");
    assert_eq!(json(&Kind::Date, "0044-03-15 BC"), "\"-000043-03-15\"");
    assert_eq!(json(&Kind::TimeTz, "24:00:00-15:59"), "\"24:00:00-15:59\"");
    assert_eq!(json(&Kind::TimeTz, "01:02:03+02"), "\"01:02:03+02:00\"");
}

#[test]
fn arrays_nest() {
    let ints = Kind::array(Kind::Integer, b',');
    let texts = Kind::array(Kind::Text, b',');
    assert_eq!(json(&ints, "{}"), "[]");
    assert_eq!(json(&ints, "{{1,2},{3,NULL}}"), "[[1,2],[3,null]]");
    assert_eq!(json(&ints, "[0:1]={1,2}"), "[1,2]");
    assert_eq!(
        json(&texts, r#"{a,"NULL",NULL,"b\"\\,}"," "}"#),
        r#"["a","NULL",null,"b\"\\,}"," "]"#
    );
    assert_eq!(
        json(&Kind::array(Kind::Text, b';'), "{(2,2),(1,1);(4,4),(3,3)}"),
        r#"["(2,2),(1,1)","(4,4),(3,3)"]"#
    );
    assert_eq!(json(&ints, "{1,2"), "\"{1,2\"");
}

#[test]
fn bytes_are_base64_and_hstores_objects() {
    assert_eq!(json(&Kind::Bytea, "\\x00ff10"), "\"AP8Q\"");
    assert_eq!(json(&Kind::Bytea, "\\x"), "\"\"");
    assert_eq!(
        json(&Kind::Hstore, r#""a"=>"1", "b\"c"=>NULL"#),
        r#"{"a":"1","b\"c":null}"#
    );
    assert_eq!(json(&Kind::Hstore, ""), "{}");
    assert_eq!(json(&Kind::Vector, "1 2 30"), "[1,2,30]");
}

fn kinds() -> impl Strategy<Value = Kind> {
    let scalar = prop::sample::select(vec![
        Kind::Boolean,
        Kind::Integer,
        Kind::BigInteger,
        Kind::Float,
        Kind::Numeric,
        Kind::Date,
        Kind::Timestamp,
        Kind::TimestampTz,
        Kind::TimeTz,
        Kind::Bytea,
        Kind::Hstore,
        Kind::Vector,
        Kind::Text,
    ]);
    (scalar, any::<bool>()).prop_map(
        |(kind, array)| {
            if array { Kind::array(kind, b',') } else { kind }
        },
    )
}

proptest! {
    #[test]
    fn whatever_comes_is_one_json_value(kind in kinds(), text in r#"[-0-9a-zA-Z{}",\\ :+.=>é\x00-\x1f]{0,30}|.{0,20}"#) {
        let written = json(&kind, &text);
        let parsed: Result<serde::de::IgnoredAny, _> = serde_json::from_str(&written);
        prop_assert!(parsed.is_ok(), "{written}");
    }

    #[test]
    fn text_arrays_come_back(values in prop::collection::vec(prop::option::of(".{0,8}"), 0..6)) {
        let literal: Vec<String> = values.iter().map(|value| match value {
            Some(text) => format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")),
            None => "NULL".to_owned(),
        }).collect();
        let literal = format!("{{{}}}", literal.join(","));
        prop_assert_eq!(json(&Kind::array(Kind::Text, b','), &literal), serde_json::to_string(&values).unwrap());
    }
}
