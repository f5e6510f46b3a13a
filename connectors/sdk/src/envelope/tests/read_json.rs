//! Rules of the JSON format that the published suite does not reach.

use bytes::Bytes;

use crate::envelope::{CloudEvent, InvalidEvent, json};

fn read(members: &str) -> Result<CloudEvent, InvalidEvent> {
    let document = format!(r#"{{"specversion":"1.0","id":"1","source":"/s","type":"t"{members}}}"#);
    json::read(&Bytes::from(document))
}

#[test]
fn broken_rules_name_their_attribute() {
    for (members, attribute) in [
        (r#","id":"2""#, "id"),
        (r#","id":null"#, "id"),
        (r#","x":1,"x":null"#, "x"),
        (r#","x":1.0"#, "x"),
        (r#","x":1e3"#, "x"),
        (r#","x":2147483648"#, "x"),
        (r#","x":-0"#, "x"),
        (r#","x":[1]"#, "x"),
        (r#","x":{}"#, "x"),
        (r#","x":"a\u0000b""#, "x"),
        (r#","x":"a\nb""#, "x"),
        (r#","x":"\uDEAD""#, "x"),
        (r#","x":"\uFFFF""#, "x"),
        (r#","a_b":"1""#, "a_b"),
        (r#","":"1""#, ""),
        (r#","Upper":null"#, "Upper"),
        (r#","subject":5"#, "subject"),
        (r#","subject":true"#, "subject"),
        (r#","time":5"#, "time"),
        (r#","time":"9999-12-31T23:59:59Z""#, "time"),
        (r#","dataschema":"/relative""#, "dataschema"),
        (r#","dataschema":"https://a.example/s#f""#, "dataschema"),
        (r#","datacontenttype":"text/plain","data":{}"#, "data"),
        (r#","datacontenttype":"text/plain","data":"\uDEAD""#, "data"),
        (
            r#","datacontenttype":"text/plain;charset=latin1","data":"é""#,
            "data",
        ),
        (r#","data_base64":5"#, "data_base64"),
        (r#","data_base64":"TWE""#, "data_base64"),
        (r#","data_base64":"T-E=""#, "data_base64"),
        (r#","data":null,"data_base64":"TWE=""#, "data_base64"),
        (r#","data":1,"data":2"#, "data"),
    ] {
        let error = read(members).expect_err(members);
        assert_eq!(error.attribute(), Some(attribute), "{members}: {error}");
    }
    let error = json::read(&Bytes::from_static(
        br#"{"specversion":"1.0","id":"1","source":"a b","type":"t"}"#,
    ));
    assert_eq!(error.expect_err("a space").attribute(), Some("source"));
}

#[test]
fn what_is_no_json_object_says_so() {
    for (document, message) in [
        (&b"\xff"[..], "must be JSON in UTF-8"),
        (b"", "not valid JSON at line 1, column 0"),
        (b"{", "not valid JSON at line 1, column 1"),
        (
            b"{\"id\":\"1\",\n  x}",
            "not valid JSON at line 2, column 3",
        ),
        (b"[]", "must be a JSON object"),
        (b"\"a\"", "must be a JSON object"),
        (b"\xef\xbb\xbf{}", "not valid JSON at line 1, column 1"),
        (b"{} {}", "not valid JSON at line 1, column 4"),
    ] {
        let error = json::read(&Bytes::copy_from_slice(document)).expect_err(message);
        assert_eq!(error.to_string(), message, "{document:?}");
        assert_eq!(error.attribute(), None);
    }
    let error = json::read_batch(&Bytes::from_static(b"{}")).expect_err("no array");
    assert_eq!(error.to_string(), "must be a JSON array of events");
}

#[test]
fn data_keeps_its_bytes() {
    for (members, bytes, known_json) in [
        (r#","data":null"#, Some("null"), true),
        (
            r#","data":{ "a" : 1.50, "a": 2 }"#,
            Some(r#"{ "a" : 1.50, "a": 2 }"#),
            true,
        ),
        (r#","data":"text""#, Some(r#""text""#), true),
        (
            r#","datacontenttype":"application/vnd.x+json","data":[1]"#,
            Some("[1]"),
            true,
        ),
        (
            r#","datacontenttype":"text/xml","data":"<a\u00e9/>""#,
            Some("<aé/>"),
            false,
        ),
        (
            r#","datacontenttype":"application/json","data_base64":"e30=""#,
            Some("{}"),
            false,
        ),
        (r#","data_base64":null"#, None, false),
        (r#","data":1,"data_base64":null"#, Some("1"), true),
        ("", None, false),
    ] {
        let event = read(members).expect(members);
        assert_eq!(
            event
                .data
                .bytes()
                .map(|b| std::str::from_utf8(b).expect("text")),
            bytes,
            "{members}"
        );
        assert_eq!(event.data.is_known_json(), known_json, "{members}");
    }
}

#[test]
fn data_is_a_slice_of_the_document() {
    let document = Bytes::from_static(
        br#"{"specversion":"1.0","id":"1","source":"/s","type":"t","data":[1,2]}"#,
    );
    let data = json::read(&document).expect("valid").data;
    assert!(
        document
            .as_ptr_range()
            .contains(&data.bytes().expect("data").as_ptr())
    );
}

#[test]
fn errors_repeat_no_values_and_no_endless_names() {
    let error = read(&format!(r#","{}":"secret""#, "Ä".repeat(500))).expect_err("an illegal name");
    assert!(error.to_string().chars().count() < 150, "{error}");
    let error = read(r#","time":"secret""#).expect_err("no time");
    assert!(!error.to_string().contains("secret"), "{error}");
}

#[test]
fn too_many_attributes_are_refused() {
    let many: String = (0..300).map(|n| format!(r#","x{n}":1"#)).collect();
    assert_eq!(
        read(&many).expect_err("300").to_string(),
        "has too many attributes"
    );
}

#[test]
fn deep_data_is_read_in_bounded_stack() {
    let deep = format!(r#","data":{}{}"#, "[".repeat(200_000), "]".repeat(200_000));
    assert_eq!(read(&deep).expect("valid JSON").data.len(), 400_000);
}
