use std::sync::Arc;

use headgate_sdk::{Batch, Str};

use super::*;
use crate::{
    config::Fullness,
    lsn::Lsn,
    pgoutput::{self, Column, Message, Relation, Tuple},
    position::{StreamPosition, Timelines},
    types::Rendering,
};

const TABLE: u32 = 9;

fn settings() -> Settings {
    Settings {
        rendering: Rendering::default(),
        events: Fullness::Fat,
        event_type: Str::new_static("postgres.row.changed.v1"),
        tombstones: false,
        transaction_events: true,
        messages: vec!["app.*".into()],
        local_only: false,
        name: Str::new_static("crm"),
        urn: Str::new_static("urn:headgate:default:postgres:crm:7"),
        tenant: Str::new_static("default"),
        database: "crm".into(),
        mark_prefix: "headgate.slot".into(),
        session: "now".into(),
    }
}

fn beginning() -> StreamPosition {
    StreamPosition {
        system: "7".into(),
        timeline: 1,
        lsn: Lsn(0x10),
        ordinal: 0,
        confirm: Lsn(0x10),
    }
}

fn publisher(resume: &StreamPosition) -> Publisher {
    let identity = Identity {
        system: "7".into(),
        timelines: Timelines::new(Vec::new(), 1),
    };
    let mut publisher = Publisher::new(settings(), identity, resume);
    let column = |name: &str, key, type_oid| Column {
        key,
        name: name.into(),
        type_oid,
        type_modifier: -1,
    };
    let relation = Relation {
        id: TABLE,
        schema: "public".into(),
        name: "t".into(),
        identity: pgoutput::Identity::Default,
        columns: vec![column("id", true, 23), column("x", false, 25)],
    };
    let table = Table::new(1, relation, &Facts::default(), true, None).unwrap();
    publisher.learn(Arc::new(table));
    publisher
}

fn row(id: &str) -> Vec<u8> {
    let length = u32::try_from(id.len()).unwrap();
    [b"t", &length.to_be_bytes()[..], id.as_bytes(), b"n"].concat()
}

fn insert(publisher: &mut Publisher, id: &str) {
    let row = row(id);
    let message = Message::Insert {
        xid: None,
        relation: TABLE,
        new: Tuple::new(2, &row),
    };
    assert_eq!(publisher.change(&message).unwrap(), None);
}

fn emit(
    publisher: &mut Publisher,
    transactional: bool,
    lsn: u64,
    prefix: &str,
    content: &[u8],
) -> Option<Mark> {
    let message = Message::Emitted {
        xid: None,
        transactional,
        lsn: Lsn(lsn),
        prefix,
        content,
    };
    publisher.change(&message).unwrap()
}

fn ids(batch: &Batch) -> Vec<String> {
    batch.events.iter().map(|e| e.id.to_string()).collect()
}

#[test]
fn a_position_lies_inside_a_transaction_and_nothing_before_it_comes_again() {
    let mut first = publisher(&beginning());
    first.begin(700, Lsn(0x100), 0);
    for id in ["1", "2", "3"] {
        insert(&mut first, id);
    }
    let inside = first.position();
    let before = first.outgoing.take(None);
    insert(&mut first, "4");
    first.commit(Lsn(0x120)).unwrap();
    let after = first.outgoing.take(None);
    assert_eq!(
        (inside.lsn, inside.ordinal, inside.confirm),
        (Lsn(0x100), 3, Lsn(0x10))
    );
    // The same transaction, from the slot, after a crash.
    let mut second = publisher(&inside);
    second.begin(700, Lsn(0x100), 0);
    for id in ["1", "2", "3", "4"] {
        insert(&mut second, id);
    }
    second.commit(Lsn(0x120)).unwrap();
    let again = second.outgoing.take(None);
    assert_eq!(ids(&again), ids(&after));
    assert_eq!(
        ids(&before),
        [
            "1/0000000000000100-begin",
            "1/0000000000000100-1",
            "1/0000000000000100-2",
            "1/0000000000000100-3"
        ]
    );
    assert_eq!(
        ids(&again),
        ["1/0000000000000100-4", "1/0000000000000100-end"]
    );
    let settled = second.position();
    assert_eq!((settled.lsn, settled.ordinal), (Lsn(0x120), 0));
}

#[test]
fn a_transaction_that_is_stored_is_passed_over_whole() {
    let stored = StreamPosition {
        lsn: Lsn(0x120),
        ..beginning()
    };
    let mut publisher = publisher(&stored);
    publisher.begin(700, Lsn(0x100), 0);
    insert(&mut publisher, "1");
    assert!(publisher.is_skipping());
    publisher.commit(Lsn(0x120)).unwrap();
    assert!(publisher.outgoing.is_empty());
    assert_eq!(publisher.position(), stored);
}

#[test]
fn marks_of_this_run_are_heard_and_those_of_others_are_not() {
    let mut publisher = publisher(&beginning());
    publisher.begin(700, Lsn(0x100), 0);
    let mut mark = |content: &str| {
        emit(
            &mut publisher,
            true,
            0x90,
            "headgate.slot",
            content.as_bytes(),
        )
    };
    assert_eq!(
        mark("now low 5 9"),
        Some(Mark::Low {
            window: 5,
            relation: 9
        })
    );
    assert_eq!(mark("now high 5"), Some(Mark::High { window: 5 }));
    assert_eq!(mark("earlier high 5"), None);
    assert_eq!(mark("now beat"), None);
    publisher.commit(Lsn(0x120)).unwrap();
    // They count, and are no events.
    assert!(publisher.outgoing.is_empty());
}

#[test]
fn a_message_outside_transactions_comes_once() {
    let mut publisher = publisher(&beginning());
    assert_eq!(emit(&mut publisher, false, 0x80, "app.a", b"\xff"), None);
    assert_eq!(emit(&mut publisher, false, 0x80, "app.a", b"again"), None);
    assert_eq!(emit(&mut publisher, false, 0x90, "other", b"no"), None);
    let batch = publisher.outgoing.take(None);
    assert_eq!(ids(&batch), ["1/0000000000000080-m"]);
    assert_eq!(publisher.position().confirm, Lsn(0x90));
}

#[test]
fn changes_that_make_no_sense_are_errors() {
    let mut publisher = publisher(&beginning());
    let row = row("1");
    let stray = |relation| Message::Insert {
        xid: None,
        relation,
        new: Tuple::new(2, &row),
    };
    assert!(matches!(
        publisher.change(&stray(TABLE)),
        Err(PublishError::OutsideTransaction)
    ));
    publisher.begin(700, Lsn(0x100), 0);
    assert!(matches!(
        publisher.change(&stray(8)),
        Err(PublishError::UnknownRelation(8))
    ));
}
