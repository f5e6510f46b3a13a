//! Compressed bodies.

use std::io::Write;

use serde_json::{Value, json};

use super::support::{Gate, SECRET, header, post, signed};

const TEXT: &str = r#"{"hello":"world","list":[1,2,3]}"#;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn encoded(coding: &str, bytes: &[u8]) -> Vec<u8> {
    match coding {
        "gzip" => gzip(bytes),
        "deflate" => {
            let mut encoder =
                flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        "zstd" => zstd::encode_all(bytes, 3).unwrap(),
        "br" => {
            let mut out = Vec::new();
            brotli::CompressorWriter::new(&mut out, 4096, 5, 20)
                .write_all(bytes)
                .unwrap();
            out
        }
        "gzip, zstd" => encoded("zstd", &gzip(bytes)),
        _ => panic!("{coding}"),
    }
}

fn config(covers: &str) -> Value {
    json!({ "scheme": "github", "secrets": [SECRET], "signature_covers": covers, "max_inflated": "1MiB", "max_body": "64KiB" })
}

#[tokio::test]
async fn every_coding_arrives_inflated_whatever_the_signature_covers() {
    for coding in ["gzip", "deflate", "zstd", "br", "gzip, zstd"] {
        let wire = encoded(coding, TEXT.as_bytes());
        let over_wire = header(
            signed("github", post(wire.clone())),
            "content-encoding",
            coding,
        );
        let mut over_text = header(signed("github", post(TEXT)), "content-encoding", coding);
        over_text.body = wire;
        for (covers, wire_ok, text_ok) in [
            ("received", 202, 401),
            ("inflated", 401, 202),
            ("either", 202, 202),
        ] {
            let gate = Gate::open(config(covers)).await;
            assert_eq!(
                gate.send(over_wire.clone()).await.status,
                wire_ok,
                "{coding} {covers}"
            );
            assert_eq!(
                gate.send(over_text.clone()).await.status,
                text_ok,
                "{coding} {covers}"
            );
            for event in gate.events() {
                assert_eq!(event.data.bytes().unwrap(), TEXT.as_bytes(), "{coding}");
            }
        }
    }
}

#[tokio::test]
async fn what_inflates_over_the_limit_is_413_and_never_cut() {
    let gate = Gate::open(config("either")).await;
    let mut nested = gzip(&gzip(&vec![0; 40 << 20]));
    nested = gzip(&nested);
    let bombs = [
        ("gzip", gzip(&vec![0; (1 << 20) + 1])),
        ("gzip", gzip(&vec![0; 40 << 20])),
        ("gzip, gzip, gzip", nested),
        ("zstd", zstd::encode_all(&vec![0; 40 << 20][..], 3).unwrap()),
        ("br", encoded("br", &vec![0; 40 << 20])),
    ];
    for (coding, bomb) in bombs {
        for draft in [post(bomb.clone()), signed("github", post(bomb.clone()))] {
            let answer = gate.send(header(draft, "content-encoding", coding)).await;
            assert_eq!(answer.status, 413, "{coding}: {answer:?}");
        }
    }
    let just = gzip(&vec![b'1'; 1 << 20]);
    let draft = header(signed("github", post(just)), "content-encoding", "gzip");
    assert_eq!(gate.send(draft).await.status, 202);
    assert_eq!(gate.event().data.len(), 1 << 20);
}

#[tokio::test]
async fn broken_and_unknown_codings_are_refused() {
    let gate = Gate::open(config("received")).await;
    let mut cut = gzip(TEXT.as_bytes());
    cut.truncate(cut.len() - 9);
    for (coding, body, status) in [
        ("gzip", cut, 400),
        ("gzip", b"not gzip".to_vec(), 400),
        ("zstd", b"not zstd".to_vec(), 400),
        ("compress", b"x".to_vec(), 415),
        ("gzip,gzip,gzip,gzip,gzip", b"x".to_vec(), 415),
    ] {
        let draft = header(signed("github", post(body)), "content-encoding", coding);
        assert_eq!(gate.send(draft).await.status, status, "{coding}");
    }
    assert!(gate.events().is_empty());
}
