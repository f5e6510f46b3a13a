//! Inbound e-mail: what SendGrid, Mailgun and Postmark post becomes one event; attachments go to the claim-check store.

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::STANDARD};
use headgate_sdk::blobs::BlobStore;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::InboundEmail;
use crate::multipart;

/// The event's type.
pub(super) const EVENT_TYPE: &str = "email.incoming.v1";

/// The event's data.
#[derive(Debug, Default, Serialize)]
pub(super) struct Email {
    pub(super) from: Option<String>,
    pub(super) to: Option<String>,
    pub(super) cc: Option<String>,
    pub(super) subject: Option<String>,
    pub(super) message_id: Option<String>,
    pub(super) text: Option<String>,
    pub(super) html: Option<String>,
    /// All headers, as the service gives them: a text, or a list.
    pub(super) headers: Value,
    pub(super) attachments: Vec<Attachment>,
    /// Everything else that the service sent.
    pub(super) fields: BTreeMap<String, Value>,
}

/// An attachment, stored elsewhere.
#[derive(Debug, Serialize)]
pub(super) struct Attachment {
    filename: Option<String>,
    content_type: Option<String>,
    content_id: Option<String>,
    bytes: u64,
    hash: String,
    dataref: String,
}

/// Why a request is no e-mail.
#[derive(Debug, thiserror::Error)]
pub(super) enum EmailError {
    /// 400.
    #[error("the body is not what {0} sends")]
    Malformed(InboundEmail),
    /// 503.
    #[error("an attachment could not be stored")]
    Store(#[source] headgate_sdk::blobs::BlobError),
}

struct File<'a> {
    filename: Option<String>,
    content_type: Option<String>,
    content_id: Option<String>,
    data: std::borrow::Cow<'a, [u8]>,
}

/// Reads an e-mail and stores its attachments.
pub(super) async fn read(
    service: InboundEmail,
    content_type: &str,
    body: &[u8],
    blobs: &dyn BlobStore,
) -> Result<Email, EmailError> {
    let malformed = || EmailError::Malformed(service);
    let (mut email, files) = match service {
        InboundEmail::Postmark => postmark(body).ok_or_else(malformed)?,
        _ => from_form(service, content_type, body).ok_or_else(malformed)?,
    };
    for file in files {
        let mut content = &file.data[..];
        let stored = blobs.put(&mut content).await.map_err(EmailError::Store)?;
        email.attachments.push(Attachment {
            filename: file.filename,
            content_type: file.content_type,
            content_id: file.content_id,
            bytes: stored.bytes,
            hash: stored.hash.to_string(),
            dataref: stored.uri.to_string(),
        });
    }
    Ok(email)
}

fn from_form<'a>(
    service: InboundEmail,
    content_type: &str,
    body: &'a [u8],
) -> Option<(Email, Vec<File<'a>>)> {
    let mut fields: BTreeMap<String, Value> = BTreeMap::new();
    let mut files = Vec::new();
    if content_type
        .trim_start()
        .to_ascii_lowercase()
        .starts_with("multipart/")
    {
        for part in multipart::parts(content_type, body)? {
            if part.filename.is_some() {
                files.push(File {
                    filename: part.filename,
                    content_type: part.content_type,
                    content_id: part.content_id,
                    data: part.data.into(),
                });
            } else {
                fields.insert(part.name, String::from_utf8_lossy(part.data).into());
            }
        }
    } else {
        fields.extend(crate::verify::form_pairs(body));
    }
    let mut take = |names: &[&str]| {
        names
            .iter()
            .find_map(|name| fields.remove(*name))
            .and_then(|value| value.as_str().map(str::to_owned))
    };
    let email = match service {
        InboundEmail::Mailgun => Email {
            from: take(&["from", "From", "sender"]),
            to: take(&["To", "to", "recipient"]),
            cc: take(&["Cc", "cc"]),
            subject: take(&["subject", "Subject"]),
            message_id: take(&["Message-Id", "message-id"]),
            text: take(&["body-plain"]),
            html: take(&["body-html"]),
            headers: take(&["message-headers"])
                .map(|text| serde_json::from_str(&text).unwrap_or(Value::String(text)))
                .unwrap_or_default(),
            ..Email::default()
        },
        _ => {
            let headers = take(&["headers"]);
            Email {
                from: take(&["from"]),
                to: take(&["to"]),
                cc: take(&["cc"]),
                subject: take(&["subject"]),
                message_id: headers.as_deref().and_then(message_id),
                text: take(&["text"]),
                html: take(&["html"]),
                headers: headers.map(Value::String).unwrap_or_default(),
                ..Email::default()
            }
        }
    };
    email.from.as_ref()?;
    for proof in ["signature", "token"] {
        fields.remove(proof);
    }
    Some((Email { fields, ..email }, files))
}

fn message_id(headers: &str) -> Option<String> {
    headers.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("message-id")
            .then(|| value.trim().to_owned())
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Postmark {
    from: String,
    to: Option<String>,
    cc: Option<String>,
    subject: Option<String>,
    #[serde(rename = "MessageID")]
    message_id: Option<String>,
    text_body: Option<String>,
    html_body: Option<String>,
    #[serde(default)]
    headers: Value,
    #[serde(default)]
    attachments: Vec<PostmarkAttachment>,
    #[serde(flatten)]
    fields: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PostmarkAttachment {
    name: Option<String>,
    content: String,
    content_type: Option<String>,
    #[serde(rename = "ContentID")]
    content_id: Option<String>,
}

fn postmark(body: &[u8]) -> Option<(Email, Vec<File<'static>>)> {
    let mail: Postmark = serde_json::from_slice(body).ok()?;
    let files = mail
        .attachments
        .into_iter()
        .map(|file| {
            Some(File {
                filename: file.name,
                content_type: file.content_type,
                content_id: file.content_id.filter(|id| !id.is_empty()),
                data: STANDARD.decode(file.content).ok()?.into(),
            })
        })
        .collect::<Option<Vec<_>>>()?;
    let email = Email {
        from: Some(mail.from),
        to: mail.to,
        cc: mail.cc.filter(|cc| !cc.is_empty()),
        subject: mail.subject,
        message_id: mail.message_id,
        text: mail.text_body,
        html: mail.html_body,
        headers: mail.headers,
        attachments: Vec::new(),
        fields: mail.fields,
    };
    Some((email, files))
}
