use headgate_sdk::{Data, Envelope, ExtensionValue, Timestamp};

use super::*;

fn event(data: &str) -> Envelope {
    let at = "2026-01-31T12:00:00.5Z".parse::<Timestamp>().unwrap();
    let mut event = Envelope::new(
        "e1",
        "urn:s",
        "invoice.paid.v1",
        at,
        Data::opaque(data.to_owned()),
    );
    event.subject = Some("s".into());
    event.extensions.set("xcount", ExtensionValue::Integer(3));
    event
}

fn condition(source: &str) -> Result<Condition, ProgramError> {
    Condition::try_from(source.to_owned())
}

/// What the program makes of an event: `None` if it changed nothing.
fn run(source: &str, data: &str) -> Result<Option<Vec<Envelope>>, RunError> {
    run_on(event(data), source, Numbers::Exact)
}

fn run_on(
    mut event: Envelope,
    source: &str,
    numbers: Numbers,
) -> Result<Option<Vec<Envelope>>, RunError> {
    let program = Transform::try_from(source.to_owned()).unwrap_or_else(|error| panic!("{error}"));
    let before = event.clone();
    let result = program.run(&mut event, numbers, "transform", 3);
    if !matches!(result, Ok(Transformed::InPlace)) {
        assert_eq!(event, before, "{source}");
    }
    Ok(match result? {
        Transformed::Unchanged => None,
        Transformed::InPlace => Some(vec![event]),
        Transformed::Several(events) => Some(events),
    })
}

fn one(source: &str, data: &str) -> Envelope {
    run(source, data).unwrap().unwrap().remove(0)
}

fn text(event: &Envelope) -> &str {
    std::str::from_utf8(event.data.bytes().unwrap()).unwrap()
}

#[test]
fn conditions_look_at_attributes_and_data() {
    for (source, holds) in [
        (r#"%type == "invoice.paid.v1""#, true),
        (r#"%type != "invoice.paid.v1""#, false),
        (r#".total == 5"#, true),
        (r#"exists(.customer.id) && starts_with(%id, "e")"#, true),
        (r#"%xcount == 3"#, true),
        (r#"is_null(%partitionkey)"#, true),
        (r#"to_unix_timestamp(%time) > 1700000000"#, true),
        (r#"contains_all(string!(.tags[0]), ["a"])"#, true),
    ] {
        let condition = condition(source).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(
            condition.holds(&mut event(
                r#"{"total":5,"customer":{"id":1},"tags":["a"]}"#
            )),
            Ok(holds),
            "{source}"
        );
    }
}

#[test]
fn a_condition_that_needs_no_data_does_not_parse_it() {
    assert_eq!(
        condition(r#"%subject == "s""#)
            .unwrap()
            .holds(&mut event("no json")),
        Ok(true)
    );
    assert_eq!(
        condition(".a == 1")
            .unwrap()
            .holds(&mut event("no json"))
            .unwrap_err()
            .reason,
        "invalid_data"
    );
}

#[test]
fn mistakes_are_found_when_it_compiles() {
    for (source, told) in [
        ("upcas(.a)", "upcase"),
        (
            r#"%type == "a" && upcase(.a) == "A""#,
            "try: ensuring an appropriate type",
        ),
        (".active", "a condition is true or false"),
        (r#"%tyep == "a""#, "did you mean `%type`?"),
        (r#"%typ != "a""#, "did you mean `%type`?"),
        (".a = 1; true", "read-only"),
        (r#"%time == "2026" && now() == 1"#, "undefined function"),
        ("(", "syntax error"),
    ] {
        let error = condition(source).unwrap_err().to_string();
        assert!(error.contains(told), "{source}: {error}");
    }
    for source in [
        r#"%id = "x""#,
        r#"%tenantid = "x""#,
        "% = {}",
        "del(%source)",
        r#"get_env_var!("PATH")"#,
        "uuid_v4()",
        "now()",
        "log(.)",
    ] {
        assert!(Transform::try_from(source.to_owned()).is_err(), "{source}");
    }
}

#[test]
fn a_diagnostic_shows_line_column_and_caret() {
    insta::assert_snapshot!(Transform::try_from(".a = 1\n.b = upcas(.c)".to_owned()).unwrap_err());
}

#[test]
fn the_list_of_functions_is_sorted_and_known() {
    assert!(FUNCTIONS.is_sorted());
    assert_eq!(functions::ALLOWED.len(), FUNCTIONS.len());
}

#[test]
fn what_changes_nothing_leaves_the_bytes() {
    for source in [
        ".",
        ".total = .total",
        "x = .total",
        ".total = 1.5",
        "if false { .a = 1 }",
    ] {
        assert_eq!(run(source, r#"{ "total": 1.50 }"#), Ok(None), "{source}");
    }
}

#[test]
fn data_and_attributes_change() {
    let changed = one(
        r#".total = to_float!(.total); del(.a); %subject = "new"; %xnote = true; %partitionkey = to_string(.n) ?? "none""#,
        r#"{"total":"7.25","a":1,"n":1e2}"#,
    );
    assert_eq!(text(&changed), r#"{"n":100.0,"total":7.25}"#);
    assert_eq!(changed.subject.as_deref(), Some("new"));
    assert_eq!(
        changed.extensions.get("xnote"),
        Some(&ExtensionValue::Boolean(true))
    );
    assert!(changed.partitionkey.is_some());
    assert_eq!(changed.id, "e1");
    assert!(changed.data.is_known_json());
    let removed = one("del(%subject)", "not read");
    assert_eq!(
        (removed.subject.as_deref(), text(&removed)),
        (None, "not read")
    );
}

#[test]
fn text_becomes_json() {
    let mut plain = event("a b");
    plain.datacontenttype = "text/plain".into();
    let changed = run_on(plain, ". = {\"words\": split!(., \" \")}", Numbers::Exact)
        .unwrap()
        .unwrap()
        .remove(0);
    assert_eq!(
        (text(&changed), changed.datacontenttype.as_str()),
        (r#"{"words":["a","b"]}"#, "application/json")
    );
}

#[test]
fn one_event_becomes_several() {
    let children = run(". = array!(.items)", r#"{"items":[{"a":1},{"a":2}]}"#)
        .unwrap()
        .unwrap();
    let ids: Vec<&str> = children.iter().map(|child| child.id.as_str()).collect();
    assert_eq!(ids, ["e1/transform/0", "e1/transform/1"]);
    assert!(
        children
            .iter()
            .all(|child| child.causationid.as_deref() == Some("e1") && child.correlationid == "e1")
    );
    assert_eq!(text(&children[1]), r#"{"a":2}"#);
    assert_eq!(
        run(". = array!(.items)", r#"{"items":[1,2,3,4]}"#)
            .unwrap_err()
            .reason,
        "too_many_events"
    );
    assert_eq!(run(". = []", "{}").unwrap().unwrap(), []);
}

#[test]
fn numbers_are_never_changed_in_silence() {
    assert_eq!(
        run(".a = 1", r#"{"n":12345678901234567890}"#)
            .unwrap_err()
            .reason,
        "unexact_number"
    );
    let large = event(r#"{"n":12345678901234567890}"#);
    let changed = run_on(large, ".a = 1", Numbers::Text).unwrap().unwrap();
    assert_eq!(text(&changed[0]), r#"{"a":1,"n":"12345678901234567890"}"#);
    // A program that does not look at data is not concerned.
    assert!(run(r#"%subject = "x""#, r#"{"n":12345678901234567890}"#).is_ok());
}

#[test]
fn failures_say_why() {
    for (source, data, reason) in [
        (".a = to_int!(.a)", r#"{"a":"x"}"#, "script_failed"),
        ("abort", "{}", "script_aborted"),
        (
            "if .a == 1 { abort \"not this one\" }",
            r#"{"a":1}"#,
            "script_aborted",
        ),
        (".a = 1", "{", "invalid_data"),
        (".a = 1", r#"{"b":1,"b":2}"#, "invalid_data"),
        (".a = decode_base64!(.a)", r#"{"a":"/w=="}"#, "invalid_data"),
        ("%subject = \"a\\nb\"", "{}", "invalid_attribute"),
        ("%hop = \"x\"", "{}", "invalid_attribute"),
        ("%xfloat = 1.5", "{}", "invalid_attribute"),
        ("%my_name = 1", "{}", "invalid_attribute"),
        (
            "a = split(\"a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a\", \",\"); for_each(a) -> |_i, _v| { for_each(a) -> |_i, _v| { for_each(a) -> |_i, _v| { for_each(a) -> |_i, _v| { for_each(a) -> |_i, _v| { .x = 1 } } } } }",
            "{}",
            "script_too_long",
        ),
    ] {
        assert_eq!(run(source, data).unwrap_err().reason, reason, "{source}");
    }
}

#[test]
fn keys_are_scalars() {
    let key = |source: &str, data: &str| {
        Key::try_from(source.to_owned())
            .unwrap()
            .of(&mut event(data))
    };
    assert_eq!(key(".a", r#"{"a":"x"}"#), Ok(Some("x".to_owned())));
    assert_eq!(key(".a", r#"{"a":5}"#), Ok(Some("5".to_owned())));
    assert_eq!(key(".a", "{}"), Ok(None));
    assert_eq!(
        key(".a", r#"{"a":[]}"#).unwrap_err().reason,
        "script_failed"
    );
    assert_eq!(key(r#"%id + "x""#, "{}"), Ok(Some("e1x".to_owned())));
}

#[test]
fn programs_in_a_row_share_what_was_parsed() {
    let mut event = event(r#"{"a":1,"b":"x"}"#);
    assert_eq!(condition(".a == 1").unwrap().holds(&mut event), Ok(true));
    assert!(event.data.parsed::<Document>().is_some());
    let program = Transform::try_from(".a = to_string!(.a); %subject = .b".to_owned()).unwrap();
    let done = program.run(&mut event, Numbers::Exact, "t", 1).unwrap();
    assert_eq!(done, Transformed::InPlace);
    assert!(event.data.parsed::<Document>().is_some());
    assert_eq!(text(&event), r#"{"a":"1","b":"x"}"#);
    assert_eq!(event.subject.as_deref(), Some("x"));
    // The next one sees what the one before wrote, and not what came.
    assert_eq!(
        condition(r#".a == "1""#).unwrap().holds(&mut event),
        Ok(true)
    );
    // What fails half-way leaves nothing of what it had changed.
    let program = Transform::try_from(".b = 1; abort".to_owned()).unwrap();
    assert!(program.run(&mut event, Numbers::Exact, "t", 1).is_err());
    assert_eq!(
        condition(r#".b == "x""#).unwrap().holds(&mut event),
        Ok(true)
    );
}

#[test]
fn edited_text_is_parsed_anew() {
    let mut event = event(r#"{"a":1}"#);
    assert_eq!(condition(".a == 1").unwrap().holds(&mut event), Ok(true));
    event.data = Data::json(r#"{"a":2}"#);
    assert_eq!(condition(".a == 2").unwrap().holds(&mut event), Ok(true));
}
