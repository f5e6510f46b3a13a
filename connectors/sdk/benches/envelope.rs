//! Nanoseconds an event for each format, on a 600-byte GitHub-like event: `cargo bench -p headgate-sdk --bench envelope`.

use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use headgate_sdk::envelope::{self, Data, Envelope};

fn main() {
    let known = sample(true);
    let unknown = sample(false);
    let mut line = Vec::new();
    envelope::json::write(&known, &mut line);
    let document = Bytes::from(line.clone());
    let mut record = BytesMut::new();
    envelope::wire::encode(&known, &mut record).expect("short enough");
    let record = record.freeze();
    println!(
        "data {} bytes, JSON line {} bytes, wire record {} bytes\n",
        known.data.len(),
        line.len(),
        record.len()
    );

    let mut writer = envelope::json::Writer::new();
    report("json write, data known to be JSON", || {
        line.clear();
        writer.write(black_box(&known), &mut line);
        line.len()
    });
    report("json write, data checked", || {
        line.clear();
        writer.write(black_box(&unknown), &mut line);
        line.len()
    });
    report("json write without a remembering writer", || {
        line.clear();
        envelope::json::write(black_box(&known), &mut line);
        line.len()
    });
    report("kafka headers", || {
        let mut bytes = 0;
        envelope::kafka::for_each_header(black_box(&known), |name, value| {
            bytes += black_box(name.len() + value.len())
        });
        bytes
    });
    report("json read", || {
        envelope::json::read(black_box(&document))
            .expect("valid")
            .id
            .len()
    });
    let mut buffer = BytesMut::with_capacity(4096);
    report("wire encode", || {
        buffer.clear();
        envelope::wire::encode(black_box(&known), &mut buffer).expect("short enough");
        buffer.len()
    });
    report("wire decode", || {
        envelope::wire::decode(&mut black_box(&record).clone())
            .expect("a record")
            .id
            .len()
    });
    report("envelope clone", || black_box(&known).clone().id.len());
}

/// Median of 11 rounds of at least 50 ms each.
fn report(name: &str, mut each: impl FnMut() -> usize) {
    let mut rounds: Vec<f64> = (0..11)
        .map(|_| {
            let (started, mut count) = (Instant::now(), 0_u32);
            while started.elapsed() < Duration::from_millis(50) {
                for _ in 0..256 {
                    black_box(each());
                }
                count += 256;
            }
            started.elapsed().as_secs_f64() * 1e9 / f64::from(count)
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    println!(
        "{name:<42} {:>8.0} ns   ({:.0}–{:.0})",
        rounds[5], rounds[0], rounds[10]
    );
}

fn sample(known_json: bool) -> Envelope {
    let commit = r#"{"id":"7fd1a60b01f91b314f59955a4e4d4e80d8edf11d","message":"Update README.md","timestamp":"2026-01-31T12:00:00+01:00","author":{"name":"Octo Cat","email":"octo@example.com"},"added":[],"removed":[],"modified":["README.md"]}"#;
    let data = format!(
        r#"{{"ref":"refs/heads/main","before":"6113728f27ae82c7b1a177c8d03f9e96e0adf246","after":"7fd1a60b01f91b314f59955a4e4d4e80d8edf11d","repository":{{"id":1296269,"full_name":"octo/hello","private":false}},"pusher":{{"name":"octocat"}},"created":false,"deleted":false,"forced":false,"commits":[{commit}]}}"#
    );
    let data = if known_json {
        Data::json(data)
    } else {
        Data::opaque(data)
    };
    let mut envelope = Envelope::new(
        "72d3162e-cc78-11e3-81ab-4c9367dc0958",
        "urn:headgate:acme:webhook:github",
        "github.push.v1",
        "2026-01-31T12:00:00Z".parse().expect("an instant"),
        data,
    );
    envelope.recordedtime = "2026-01-31T12:00:00.123456Z".parse().expect("an instant");
    envelope.tenantid = "acme".into();
    envelope.subject = Some("octo/hello".into());
    envelope.partitionkey = Some("octo/hello".into());
    envelope.traceparent = Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into());
    envelope.correlationid = "0af7651916cd43dd8448eb211c80319c".into();
    envelope
}
