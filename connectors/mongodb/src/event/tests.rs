use headgate_sdk::Batch;
use mongodb::bson::{
    Binary, Bson, DateTime, RawDocumentBuf, Timestamp as ClusterTime, doc, rawdoc,
    spec::BinarySubtype,
};

use super::*;

fn writer() -> EventWriter {
    let mut writer = EventWriter::new(Settings {
        name: "shop".into(),
        urn: "urn:headgate:default:mongodb:shop".into(),
        tenant: "default".into(),
        event_type: "mongodb.document.changed.v1".into(),
        format: JsonFormat::Relaxed,
        full_document: FullDocument::UpdateLookup,
        tombstones: true,
    });
    writer.recorded = Timestamp::UNIX_EPOCH;
    writer
}

fn position() -> StreamPosition {
    StreamPosition::new(doc! { "_data": "82" }, None)
}

fn show(batch: &Batch) -> String {
    let show = |event: &Envelope| {
        let data = event.data.bytes().map_or("(none)", |bytes| {
            std::str::from_utf8(bytes).unwrap_or("(bytes)")
        });
        if event.data.is_known_json() {
            serde_json::from_str::<serde_json::Value>(data).unwrap();
        }
        format!(
            "{} {} {:?} {:?} {} {}\n  {data}\n",
            event.id,
            event.event_type,
            event.subject,
            event.partitionkey,
            event.sequence.as_deref().unwrap_or("-"),
            event.time
        )
    };
    let events: String = batch.events.iter().map(show).collect();
    let rejected: String = batch
        .rejected
        .iter()
        .map(|l| {
            format!(
                "rejected {}: {}\n  {}",
                l.reason,
                l.message,
                show(&l.envelope)
            )
        })
        .collect();
    events + &rejected
}

fn event(token: &str, operation: &str, more: mongodb::bson::Document) -> RawDocumentBuf {
    let mut event = doc! {
        "_id": { "_data": token },
        "operationType": operation,
        "clusterTime": ClusterTime { time: 1_700_000_000, increment: 3 },
        "wallTime": DateTime::from_millis(1_700_000_000_123),
        "ns": { "db": "shop", "coll": "orders" },
    };
    event.extend(more);
    RawDocumentBuf::try_from(&event).unwrap()
}

#[test]
fn changes_become_events() {
    let lsid =
        doc! { "id": Bson::Binary(Binary { subtype: BinarySubtype::Uuid, bytes: vec![7; 16] }) };
    let key = doc! { "_id": "o-1" };
    let events = [
        event(
            "1",
            "insert",
            doc! { "documentKey": key.clone(), "fullDocument": { "_id": "o-1", "n": 1 } },
        ),
        event(
            "2",
            "update",
            doc! {
                "documentKey": key.clone(), "fullDocument": { "_id": "o-1", "n": 2 }, "fullDocumentBeforeChange": { "_id": "o-1", "n": 1 },
                "updateDescription": { "updatedFields": { "n": 2 }, "removedFields": [], "truncatedArrays": [], "disambiguatedPaths": { "a.0": ["a", "0"] } },
                "lsid": lsid.clone(), "txnNumber": 9_i64,
            },
        ),
        event(
            "3",
            "update",
            doc! { "documentKey": key.clone(), "fullDocument": null, "updateDescription": { "updatedFields": {}, "removedFields": ["n"] }, "lsid": lsid, "txnNumber": 9_i64 },
        ),
        event("4", "delete", doc! { "documentKey": key }),
        event(
            "5",
            "rename",
            doc! { "to": { "db": "shop", "coll": "old" } },
        ),
        event("6", "drop", doc! {}),
        event(
            "7",
            "create",
            doc! { "operationDescription": { "idIndex": { "v": 2 } } },
        ),
    ];
    let mut writer = writer();
    let mut position = position();
    for event in &events {
        writer.change(&Change::read(event).unwrap(), &mut position);
    }
    let batch = writer.outgoing.take(None);
    insta::assert_snapshot!(show(&batch));
}

#[test]
fn what_cannot_be_written_or_sent_is_rejected_with_its_key() {
    let key = doc! { "_id": 7 };
    let good = event(
        "1",
        "insert",
        doc! { "documentKey": key.clone(), "fullDocument": { "_id": 7, "text": "abc" } },
    );
    // The same with a string that is not UTF-8.
    let mut bytes = good.as_bytes().to_vec();
    let at = bytes.windows(4).position(|w| w == b"abc\0").unwrap();
    bytes[at] = 0xff;
    let bad = RawDocumentBuf::from_bytes(bytes).unwrap();
    let large = event("3", "update", doc! { "documentKey": key });
    let mut writer = writer();
    let mut position = position();
    writer.change(&Change::read(&bad).unwrap(), &mut position);
    writer.change(&Change::read(&good).unwrap(), &mut position);
    writer.too_large(&Change::read(&large).unwrap(), &mut position);
    let mut batch = writer.outgoing.take(None);
    for letter in &mut batch.rejected {
        letter.failed_at = Timestamp::UNIX_EPOCH;
    }
    assert_eq!((batch.events.len(), batch.rejected.len()), (1, 2));
    insta::assert_snapshot!(show(&batch));
}

#[test]
fn documents_that_were_read_sort_behind_the_event_before_them() {
    let mut writer = writer();
    let mut position = position();
    let before = event(
        "1",
        "insert",
        doc! { "documentKey": { "_id": 1 }, "fullDocument": { "_id": 1 } },
    );
    writer.change(&Change::read(&before).unwrap(), &mut position);
    for number in 0..2 {
        writer.snapshot_document(
            &SnapshotDocument {
                snapshot: "20260102T030405000Z",
                database: "shop",
                collection: "orders",
                chunk: 4,
                read_at: Timestamp::UNIX_EPOCH,
                document: &rawdoc! { "_id": i64::from(number), "x": null },
            },
            &mut position,
        );
    }
    writer.change(
        &Change::read(&event("2", "delete", doc! { "documentKey": { "_id": 1 } })).unwrap(),
        &mut position,
    );
    writer.history_lost(&mut position, "gone", "shop.*");
    let batch = writer.outgoing.take(None);
    insta::assert_snapshot!(show(&batch));
    let sequences: Vec<_> = batch
        .events
        .iter()
        .filter_map(|e| e.sequence.clone())
        .collect();
    assert!(sequences.is_sorted(), "{sequences:?}");
}
