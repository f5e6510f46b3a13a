use proptest::prelude::*;

use super::*;
use crate::lsn::Lsn;

fn bytes(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

fn decode(bytes: &[u8]) -> Message<'_> {
    Decoder::default().decode(bytes).unwrap()
}

const LSN: [u8; 8] = 0x16_B374_D848_u64.to_be_bytes();
const END: [u8; 8] = 0x16_B374_D878_u64.to_be_bytes();
const TIME: [u8; 8] = 1_000_000_i64.to_be_bytes();
const AT: i64 = POSTGRES_EPOCH_MICROS + 1_000_000;

#[test]
fn reads_transactions() {
    assert_eq!(
        decode(&bytes(&[b"B", &LSN, &TIME, &7_u32.to_be_bytes()])),
        Message::Begin {
            commit: Lsn(0x16_B374_D848),
            time: AT,
            xid: 7
        }
    );
    assert_eq!(
        decode(&bytes(&[b"C\0", &LSN, &END, &TIME])),
        Message::Commit {
            commit: Lsn(0x16_B374_D848),
            end: Lsn(0x16_B374_D878),
            time: AT
        }
    );
}

#[test]
fn reads_rows() {
    let tuple = b"\0\x03t\0\0\0\x01anu";
    let update = bytes(&[b"U", &9_u32.to_be_bytes(), b"K", b"\0\x01n", b"N", tuple]);
    let Message::Update {
        relation: 9,
        old: Some((OldKind::Key, old)),
        new,
        xid: None,
    } = decode(&update)
    else {
        panic!("no update");
    };
    assert_eq!(old.columns().collect::<Vec<_>>(), [ColumnValue::Null]);
    assert_eq!(
        new.columns().collect::<Vec<_>>(),
        [
            ColumnValue::Text(b"a"),
            ColumnValue::Null,
            ColumnValue::Unchanged
        ]
    );
}

#[test]
fn reads_relations() {
    let relation = bytes(&[
        b"R",
        &9_u32.to_be_bytes(),
        b"public\0t\0f\0\x01\x01id\0",
        &23_u32.to_be_bytes(),
        &(-1_i32).to_be_bytes(),
    ]);
    let Message::Relation { relation, .. } = decode(&relation) else {
        panic!("no relation");
    };
    assert_eq!(relation.identity, Identity::Full);
    assert_eq!(
        relation.columns,
        [Column {
            key: true,
            name: "id".into(),
            type_oid: 23,
            type_modifier: -1
        }]
    );
}

#[test]
fn transaction_ids_are_read_inside_streams_only() {
    let mut decoder = Decoder::default();
    let insert = bytes(&[b"I", &9_u32.to_be_bytes(), b"N\0\0"]);
    let streamed = bytes(&[b"I", &5_u32.to_be_bytes(), &9_u32.to_be_bytes(), b"N\0\0"]);
    assert!(matches!(
        decoder.decode(&insert),
        Ok(Message::Insert { xid: None, .. })
    ));
    let start = bytes(&[b"S", &5_u32.to_be_bytes(), b"\x01"]);
    assert_eq!(
        decoder.decode(&start),
        Ok(Message::StreamStart {
            xid: 5,
            first: true
        })
    );
    assert!(matches!(
        decoder.decode(&streamed),
        Ok(Message::Insert { xid: Some(5), .. })
    ));
    assert_eq!(decoder.decode(b"E"), Ok(Message::StreamStop));
    assert!(matches!(
        decoder.decode(&insert),
        Ok(Message::Insert { xid: None, .. })
    ));
}

#[test]
fn reads_protocol_three_and_four() {
    let xid = 5_u32.to_be_bytes();
    let prepared = [&LSN[..], &END, &TIME, &xid, b"gid\0"].concat();
    for (head, is) in [
        ("b", "BeginPrepare"),
        ("P\0", "Prepare"),
        ("K\0", "CommitPrepared"),
        ("p\0", "StreamPrepare"),
    ] {
        let message = bytes(&[head.as_bytes(), &prepared]);
        assert!(format!("{:?}", decode(&message)).starts_with(is), "{is}");
    }
    let rollback = bytes(&[b"r\0", &LSN, &END, &TIME, &TIME, &xid, b"gid\0"]);
    assert!(matches!(
        decode(&rollback),
        Message::RollbackPrepared { gid: "gid", .. }
    ));
    let abort = bytes(&[b"A", &xid, &xid, &LSN, &TIME]);
    let mut parallel = Decoder::parallel();
    assert_eq!(
        parallel.decode(&abort),
        Ok(Message::StreamAbort { xid: 5, subxid: 5 })
    );
    assert!(Decoder::default().decode(&abort).is_err());
}

#[test]
fn names_what_it_cannot_read() {
    let errors: Vec<String> = [
        &b""[..],
        b"?",
        b"B\0",
        b"I\0\0\0\x09K",
        b"I\0\0\0\x09N\0\x01t\0\0\0\x09a",
        b"I\0\0\0\x09N\0\x01x",
        b"E!",
        b"T\0\0\0\x02\0\0\0\0\x01",
        b"R\0\0\0\x01public",
        b"R\0\0\0\x01public\0t\0z",
    ]
    .iter()
    .map(|bytes| Decoder::default().decode(bytes).unwrap_err().to_string())
    .collect();
    insta::assert_snapshot!(errors.join("\n"), @r"
    a pgoutput message of type `\x00` cannot be read: it is empty
    a pgoutput message of type `?` cannot be read: its type is unknown
    a pgoutput message of type `B` cannot be read: it is cut short
    a pgoutput message of type `I` cannot be read: its new row is missing
    a pgoutput message of type `I` cannot be read: it is cut short
    a pgoutput message of type `I` cannot be read: a column of unknown kind
    a pgoutput message of type `E` cannot be read: it is longer than its contents
    a pgoutput message of type `T` cannot be read: its list of tables does not fit
    a pgoutput message of type `R` cannot be read: a name has no end
    a pgoutput message of type `R` cannot be read: its replica identity is unknown
    ");
}

proptest! {
    #[test]
    fn never_panics(bytes: Vec<u8>, in_stream: bool) {
        let mut decoder = Decoder::default();
        if in_stream {
            decoder.decode(b"S\0\0\0\x01\x01").unwrap();
        }
        if let Ok(Message::Insert { new, .. }) = decoder.decode(&bytes) {
            prop_assert_eq!(new.columns().count(), new.len());
        }
    }

    #[test]
    fn every_tuple_that_is_accepted_has_all_its_columns(columns in prop::collection::vec(prop::option::of(prop::collection::vec(any::<u8>(), 0..9)), 0..9)) {
        let mut message = b"I\0\0\0\x01N".to_vec();
        message.extend(u16::try_from(columns.len()).unwrap().to_be_bytes());
        for column in &columns {
            match column {
                Some(text) => {
                    message.push(b't');
                    message.extend(u32::try_from(text.len()).unwrap().to_be_bytes());
                    message.extend(text);
                }
                None => message.push(b'n'),
            }
        }
        let Message::Insert { new, .. } = Decoder::default().decode(&message).unwrap() else { unreachable!() };
        let read: Vec<_> = new.columns().map(|c| match c { ColumnValue::Text(t) => Some(t.to_vec()), _ => None }).collect();
        prop_assert_eq!(read, columns);
    }
}
