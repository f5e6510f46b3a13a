//! Inbound e-mail.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::support::{Gate, header, post};

const PDF: &[u8] = b"%PDF-1.7\r\n\x00\xff binary\r\n";

fn multipart(fields: &[(&str, &str)], file: (&str, &str)) -> (String, Vec<u8>) {
    let mut body = Vec::new();
    for (name, value) in fields {
        body.extend(
            format!("--b0\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
                .bytes(),
        );
    }
    body.extend(
        format!(
            "--b0\r\nContent-Disposition: form-data; name=\"{}\"; filename=\"{}\"\r\nContent-Type: application/pdf\r\n\r\n",
            file.0, file.1
        )
        .bytes(),
    );
    body.extend(PDF);
    body.extend(b"\r\n--b0--\r\n");
    ("multipart/form-data; boundary=b0".into(), body)
}

async fn event_of(service: &str, content_type: &str, body: Vec<u8>) -> (Gate, Value) {
    let config = json!({ "verify": { "alg": "basic" }, "secrets": ["user:password"], "inbound_email": service });
    let gate = Gate::open(config).await;
    let draft = header(post(body), "content-type", content_type);
    let draft = header(
        draft,
        "authorization",
        &format!("Basic {}", STANDARD.encode("user:password")),
    );
    let answer = gate.send(draft).await;
    assert_eq!(answer.status, 202, "{service}: {answer:?}");
    let event = gate.event();
    assert_eq!(event.event_type, "email.incoming.v1");
    assert_eq!(event.datacontenttype, "application/json");
    let data = serde_json::from_slice(event.data.bytes().unwrap()).unwrap();
    (gate, data)
}

fn check(gate: &Gate, mail: &Value) {
    assert_eq!(mail["from"], "Ann <ann@example.com>");
    assert_eq!(mail["subject"], "Invoice");
    assert_eq!(mail["text"], "see attached");
    let attachment = &mail["attachments"][0];
    assert_eq!(attachment["filename"], "invoice.pdf");
    assert_eq!(attachment["content_type"], "application/pdf");
    assert_eq!(attachment["bytes"], PDF.len());
    let path = attachment["dataref"]
        .as_str()
        .unwrap()
        .strip_prefix("file://")
        .unwrap();
    assert!(path.starts_with(gate.world.folder().to_str().unwrap()));
    assert_eq!(std::fs::read(path).unwrap(), PDF, "stored to the byte");
}

#[tokio::test]
async fn sendgrid() {
    let fields = [
        (
            "headers",
            "Message-ID: <m-1@example.com>\nTo: in@acme.example",
        ),
        ("from", "Ann <ann@example.com>"),
        ("to", "in@acme.example"),
        ("subject", "Invoice"),
        ("text", "see attached"),
        ("spam_score", "0.1"),
    ];
    let (content_type, body) = multipart(&fields, ("attachment1", "invoice.pdf"));
    let (gate, mail) = event_of("sendgrid", &content_type, body).await;
    check(&gate, &mail);
    assert_eq!(mail["message_id"], "<m-1@example.com>");
    assert_eq!(mail["fields"]["spam_score"], "0.1");
    assert_eq!(gate.event().id, "<m-1@example.com>");
}

#[tokio::test]
async fn mailgun() {
    let fields = [
        ("from", "Ann <ann@example.com>"),
        ("recipient", "in@acme.example"),
        ("subject", "Invoice"),
        ("body-plain", "see attached"),
        ("Message-Id", "<m-2@example.com>"),
        ("message-headers", "[[\"Date\",\"today\"]]"),
        ("token", "t"),
        ("signature", "s"),
    ];
    let (content_type, body) = multipart(&fields, ("attachment-1", "invoice.pdf"));
    let (gate, mail) = event_of("mailgun", &content_type, body).await;
    check(&gate, &mail);
    assert_eq!(mail["headers"], json!([["Date", "today"]]));
    assert!(
        mail["fields"].get("signature").is_none(),
        "proofs are not passed on"
    );
}

#[tokio::test]
async fn postmark() {
    let body = json!({
        "From": "Ann <ann@example.com>", "To": "in@acme.example", "Subject": "Invoice", "TextBody": "see attached",
        "MessageID": "m-3", "Headers": [{ "Name": "X", "Value": "1" }], "MailboxHash": "h",
        "Attachments": [{ "Name": "invoice.pdf", "Content": STANDARD.encode(PDF), "ContentType": "application/pdf", "ContentID": "" }]
    });
    let (gate, mail) = event_of(
        "postmark",
        "application/json",
        body.to_string().into_bytes(),
    )
    .await;
    check(&gate, &mail);
    assert_eq!(mail["fields"]["MailboxHash"], "h");
}

#[tokio::test]
async fn a_signed_mailgun_route_with_attachments_is_verified_in_its_form() {
    let now = jiff::Timestamp::now().as_second().to_string();
    let draft = headgate_webhook::verify::Draft {
        method: "POST".into(),
        body: json!({ "signature": { "timestamp": now, "token": "tok-1" } })
            .to_string()
            .into_bytes(),
        ..Default::default()
    };
    let signed = super::support::signed("mailgun", draft);
    let proof: Value = serde_json::from_slice(&signed.body).unwrap();
    let text = |name: &str| proof["signature"][name].as_str().unwrap().to_owned();
    let (timestamp, token, signature) = (text("timestamp"), text("token"), text("signature"));
    let fields = [
        ("from", "Ann <ann@example.com>"),
        ("subject", "Invoice"),
        ("body-plain", "see attached"),
        ("timestamp", timestamp.as_str()),
        ("token", token.as_str()),
        ("signature", signature.as_str()),
    ];
    let (content_type, body) = multipart(&fields, ("attachment-1", "invoice.pdf"));
    let config = json!({ "scheme": "mailgun", "secrets": [super::support::SECRET], "inbound_email": "mailgun" });
    let gate = Gate::open(config).await;
    let answer = gate
        .send(header(post(body), "content-type", &content_type))
        .await;
    assert_eq!(answer.status, 202, "{answer:?}");
    let event = gate.event();
    assert_eq!(event.id, token.as_str());
    check(
        &gate,
        &serde_json::from_slice(event.data.bytes().unwrap()).unwrap(),
    );
}
