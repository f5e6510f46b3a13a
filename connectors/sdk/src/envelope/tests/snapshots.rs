//! What consumers see.

use insta::assert_snapshot;

use super::full;
use crate::envelope::{Data, Envelope, http, json, kafka};

fn line(envelope: &Envelope) -> String {
    let mut out = Vec::new();
    json::write(envelope, &mut out);
    String::from_utf8(out).expect("JSON is UTF-8")
}

#[test]
fn json_with_every_attribute() {
    assert_snapshot!(line(&full()));
}

#[test]
fn json_of_data_in_every_form() {
    let mut lines = String::new();
    for (datacontenttype, data) in [
        ("application/json", Data::none()),
        (
            "application/json",
            Data::opaque("{\r\n\t\"a\" : [1,\n\n 2]\n}"),
        ),
        ("application/json", Data::opaque("{\"a\":")),
        ("application/json", Data::opaque("")),
        ("application/vnd.x+json", Data::json("\"a\\nb\"")),
        ("text/plain", Data::opaque("two\nlines \"quoted\" \u{1} €")),
        ("text/plain", Data::opaque(&b"\xff"[..])),
        ("text/plain; charset=iso-8859-1", Data::opaque("ascii")),
        ("application/octet-stream", Data::opaque("ascii")),
    ] {
        let mut envelope = Envelope::new("1", "/s", "t.v1", full().time, data);
        envelope.datacontenttype = datacontenttype.into();
        let line = line(&envelope);
        let at = line
            .find(",\"data")
            .filter(|_| envelope.data.bytes().is_some())
            .and_then(|_| line.rfind(",\"data"));
        lines += &format!(
            "{datacontenttype}: {}\n",
            at.map_or("nothing", |at| &line[at..])
        );
    }
    assert_snapshot!(lines);
}

#[test]
fn http_headers_with_every_attribute() {
    let (headers, body) = http::write_binary(&full());
    let mut text = String::new();
    for (name, value) in &headers {
        text += &format!("{name}: {}\n", value.to_str().expect("ASCII"));
    }
    text += &format!("\n{}", String::from_utf8_lossy(&body.expect("data")));
    assert_snapshot!(text);
}

#[test]
fn kafka_headers_with_every_attribute() {
    let mut text = String::new();
    kafka::for_each_header(&full(), |name, value| {
        text += &format!("{name}: {}\n", String::from_utf8_lossy(value))
    });
    assert_snapshot!(text);
}
