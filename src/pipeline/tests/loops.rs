//! Events that come back through the pipeline that sent them.

use headgate_sdk::envelope::{Receipt, json};

use super::*;

/// What comes out is posted in again as it is, until nothing comes out.
#[tokio::test]
async fn a_chain_that_never_ends_by_itself_ends_in_the_dead_letters() {
    let sink = ScriptedSink::new("main", []);
    let graveyard = Gone::new();
    let cx = context(vec![plan(&sink, true)], graveyard.clone());
    let lane = lane("l");
    let mut stack = pipeline(r#"[{"max_hops": {"hops": 3}}]"#)
        .build(stack::deliver(&lane.id, 0, Priority::default(), &cx), &cx);
    let posted = br#"{"specversion":"1.0","id":"2","source":"/agent","type":"ticket.answered.v1","causationid":"1"}"#;
    let mut document = posted.to_vec();
    for number in 1..=4_usize {
        let receipt = Receipt {
            source: "urn:headgate:default:webhook:agents".into(),
            tenantid: "default".into(),
            recordedtime: Timestamp::UNIX_EPOCH,
        };
        let event = json::read(&std::mem::take(&mut document).into()).unwrap();
        let batch = PipelineBatch {
            number: number as u64,
            ..PipelineBatch::new(Arc::clone(&lane), vec![event.received(receipt).unwrap()])
        };
        let outcome = call(&mut stack, batch).await.await;
        assert!(matches!(outcome, Outcome::Durable));
        let written = sink.written();
        if number <= 3 {
            assert_eq!((written.len(), graveyard.letters().len()), (number, 0));
            json::write(&written[number - 1].envelope, &mut document);
        } else {
            assert_eq!(written.len(), 3, "the fourth time is once too often");
        }
    }
    let letters = graveyard.letters();
    assert_eq!(letters.len(), 1);
    assert_eq!(
        (letters[0].step.as_str(), letters[0].reason.as_str()),
        ("max_hops", "loop")
    );
    let ended = &letters[0].envelope;
    assert_eq!((ended.id.as_str(), ended.hop), ("2", Some(4)));
    assert_eq!(ended.causationid.as_deref(), Some("1"));
}
