//! Events of files and of their records.

use std::{path::Path, sync::Arc};

use bytes::Bytes;
use headgate_sdk::{
    Data, DeadLetter, Envelope, ExtensionValue, Str, Timestamp, envelope::Extensions,
};
use serde::Serialize;

use super::{judge::path_in, lanes::EntryKey};
use crate::{
    name,
    read::Content,
    records::Defect,
    watch::{Candidate, Key},
};

/// Everything known of a file that is to be published.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    pub(crate) key: Key,
    pub(crate) candidate: Candidate,
    /// Of the file's entry.
    pub(crate) file_key: EntryKey,
    /// Of the entry of its content.
    pub(crate) content_key: EntryKey,
    /// Relative to the folder, as text.
    pub(crate) subject: Str,
    /// The folder as configured.
    pub(crate) folder: Str,
    pub(crate) tenant: Str,
    pub(crate) urn: Str,
    pub(crate) event_type: Str,
    pub(crate) content: Content,
    pub(crate) id: Str,
    /// How often the path returned to these bytes.
    pub(crate) n: u64,
    pub(crate) duplicate_of: Option<Str>,
    pub(crate) recorded: Timestamp,
}

/// How many records a file had.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Counts {
    /// Published.
    pub(crate) published: u64,
    /// In the dead letters.
    pub(crate) rejected: u64,
}

#[derive(Serialize)]
struct FileData<'a> {
    folder: &'a str,
    path: &'a str,
    name: &'a str,
    size: u64,
    #[serde(serialize_with = "instant")]
    modified: Timestamp,
    owner: Owner,
    media_type: &'a str,
    hash: Hash<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    base64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    records: Option<Counts>,
}

#[derive(Serialize)]
struct Owner {
    uid: u32,
    gid: u32,
}

#[derive(Serialize)]
struct Hash<'a> {
    blake3: &'a str,
}

impl Facts {
    /// The absolute path as text.
    pub(crate) fn path_text(&self) -> &str {
        path_in(&self.file_key)
    }

    /// The content's hash in hex.
    pub(crate) fn hash(&self) -> &str {
        self.content_key.text.strip_prefix("c/").unwrap_or_default()
    }

    fn data<'a>(&'a self, counts: Option<Counts>, inline: Option<&'a Bytes>) -> FileData<'a> {
        let text = inline.and_then(|bytes| std::str::from_utf8(bytes).ok());
        let base64 = match (inline, text) {
            (Some(bytes), None) => Some(base64(bytes)),
            _ => None,
        };
        FileData {
            folder: &self.folder,
            path: &self.subject,
            name: self
                .subject
                .rsplit_once('/')
                .map_or(self.subject.as_str(), |(_, name)| name),
            size: self.content.stamp.size,
            modified: self.content.stamp.modified_at(),
            owner: Owner {
                uid: self.content.owner,
                gid: self.content.group,
            },
            media_type: self.content.media_type,
            hash: Hash {
                blake3: self.hash(),
            },
            text,
            base64,
            records: counts,
        }
    }

    fn envelope(&self, event_type: &Str, id: Str, data: Data) -> Envelope {
        let mut event = Envelope::new(
            id,
            self.urn.clone(),
            event_type.clone(),
            self.content.stamp.modified_at(),
            data,
        );
        event.recordedtime = self.recorded;
        event.tenantid = self.tenant.clone();
        event.subject = Some(self.subject.clone());
        event.partitionkey = Some(self.subject.clone());
        event
    }

    /// The file's own event. `dataref` is where its copy lies, if one was made.
    pub(crate) fn event(&self, counts: Option<Counts>, dataref: Option<Str>) -> Envelope {
        let data = json(&self.data(counts, self.content.inline.as_ref()));
        let mut event = self.envelope(&self.event_type, self.id.clone(), data);
        event.dataref = dataref;
        if let Some(first) = &self.duplicate_of {
            event
                .extensions
                .set("duplicateof", ExtensionValue::String(first.clone()));
        }
        event
    }

    /// What tells the dead letters that the file failed as a whole.
    pub(crate) fn failure(&self, reason: &str) -> DeadLetter {
        let data = json(&self.data(None, None));
        let event = self.envelope(&self.event_type, self.id.clone(), data);
        let message = format!(
            "the file failed as a whole: {reason}; mend it and put it back into its folder"
        );
        let mut letter = DeadLetter::new(event, "source", "unreadable_file", message);
        letter.place = Some(self.subject.clone());
        letter
    }
}

/// The event of several files that belong together.
pub(crate) fn bundle(members: &[Facts], name: &str, event_type: &Str, complete: bool) -> Envelope {
    #[derive(Serialize)]
    struct BundleData<'a> {
        bundle: &'a str,
        complete: bool,
        files: Vec<FileData<'a>>,
    }
    let mut hasher = blake3::Hasher::new();
    for member in members {
        hasher.update(member.id.as_bytes());
    }
    let id = Str::from(&hasher.finalize().to_hex()[..32]);
    let data = json(&BundleData {
        bundle: name,
        complete,
        files: members
            .iter()
            .map(|member| member.data(None, None))
            .collect(),
    });
    let mut event = members[0].envelope(event_type, id, data);
    event.subject = Some(name.into());
    event.partitionkey = event.subject.clone();
    if let Some(last) = members.iter().map(|m| m.content.stamp.modified_at()).max() {
        event.time = last;
    }
    event
}

/// Makes the events of one file's records; what they share is made once.
#[derive(Debug, Clone)]
pub(crate) struct RecordMaker {
    template: Arc<Envelope>,
    subject: Str,
}

impl RecordMaker {
    /// For the records of `facts`. `json` says whether the records are JSON texts.
    pub(crate) fn new(facts: &Facts, record_type: &Str, json: bool) -> Self {
        let mut template = facts.envelope(record_type, facts.id.clone(), Data::none());
        template.causationid = Some(facts.id.clone());
        if !json {
            template.datacontenttype = Str::new_static("text/plain");
        }
        Self {
            template: Arc::new(template),
            subject: facts.subject.clone(),
        }
    }

    /// For the records of a file that grows: `identity` stands in the place of a file's id, and the time is that of reading.
    pub(crate) fn growing(mut template: Envelope, identity: &Str, json: bool) -> Self {
        template.correlationid = identity.clone();
        if !json {
            template.datacontenttype = Str::new_static("text/plain");
        }
        Self {
            subject: template.subject.clone().unwrap_or_default(),
            template: Arc::new(template),
        }
    }

    /// The same maker with texts of its own. The threads that make events and those that drop them would otherwise pass the counters of
    /// shared texts back and forth for each event; so each batch has its own.
    pub(crate) fn fresh(&self) -> Self {
        let mut template = (*self.template).clone();
        let copy = |text: &Str| Str::from(text.as_str());
        template.source = copy(&template.source);
        template.event_type = copy(&template.event_type);
        template.tenantid = copy(&template.tenantid);
        template.correlationid = copy(&template.correlationid);
        template.causationid = template.causationid.as_ref().map(copy);
        template.subject = template.subject.as_ref().map(copy);
        template.partitionkey = template.partitionkey.as_ref().map(copy);
        Self {
            template: Arc::new(template),
            subject: self.subject.clone(),
        }
    }

    /// The id of record `number`.
    pub(crate) fn id(&self, number: u64) -> Str {
        numbered(&self.template.correlationid, number)
    }

    fn envelope(&self, id: Str, data: Data) -> Envelope {
        let template = &*self.template;
        // Field by field: a copy of the whole template would first copy, then drop, what is replaced.
        Envelope {
            id,
            source: template.source.clone(),
            event_type: template.event_type.clone(),
            time: template.time,
            recordedtime: template.recordedtime,
            datacontenttype: template.datacontenttype.clone(),
            tenantid: template.tenantid.clone(),
            correlationid: template.correlationid.clone(),
            subject: template.subject.clone(),
            partitionkey: template.partitionkey.clone(),
            expirytime: None,
            dataschema: None,
            causationid: template.causationid.clone(),
            hop: None,
            sequence: None,
            traceparent: None,
            tracestate: None,
            op: None,
            idempotencykey: None,
            dataref: None,
            authtype: None,
            authid: None,
            replayid: None,
            originsource: None,
            extensions: Extensions::default(),
            data,
        }
    }

    /// The event of the record whose id is `id`, and whose data are bytes of a file that were checked to be what they claim.
    pub(crate) fn event(&self, id: Str, data: Bytes) -> Envelope {
        let json = self.template.datacontenttype == "application/json";
        let data = if json {
            Data::json(data)
        } else {
            Data::opaque(data)
        };
        self.envelope(id, data)
    }

    /// The dead letter of record `number`.
    pub(crate) fn defect(&self, number: u64, defect: Defect) -> DeadLetter {
        let mut event = self.envelope(self.id(number), Data::opaque(defect.bytes));
        event.datacontenttype = Str::new_static("application/octet-stream");
        let message = format!(
            "{}; mend the record and send the file again under another name",
            defect.message
        );
        let mut letter = DeadLetter::new(event, "source", "malformed", message);
        let place = format!(
            "{}, line {}, column {}",
            self.subject, defect.line, defect.column
        );
        letter.place = Some(place.into());
        letter
    }
}

/// `{prefix}-{number}`, in one allocation.
fn numbered(prefix: &str, number: u64) -> Str {
    const ROOM: usize = 64;
    let mut text = [0; ROOM];
    let mut start = ROOM;
    let mut left = number;
    loop {
        start -= 1;
        text[start] = b'0' + (left % 10) as u8;
        left /= 10;
        if left == 0 {
            break;
        }
    }
    start -= 1;
    text[start] = b'-';
    let Some(from) = start.checked_sub(prefix.len()) else {
        return format!("{prefix}-{number}").into();
    };
    text[from..start].copy_from_slice(prefix.as_bytes());
    // Text and digits, put together, are text.
    std::str::from_utf8(&text[from..]).map_or_else(|_| Str::default(), Str::from)
}

/// The path of a file in its folder, as text.
pub(crate) fn subject(path: &Path) -> Str {
    Str::from(name::encode(path).as_ref())
}

fn json(data: &impl Serialize) -> Data {
    // Room for what describes a file; its content comes on top.
    let mut text = Vec::with_capacity(512);
    match serde_json::to_writer(&mut text, data) {
        Ok(()) => Data::json(text),
        // Plain data: it always is JSON.
        Err(_) => Data::json(Vec::new()),
    }
}

fn base64(bytes: &[u8]) -> String {
    use base64::{Engine as _, prelude::BASE64_STANDARD};
    BASE64_STANDARD.encode(bytes)
}

/// As RFC 3339, like every instant of an envelope.
fn instant<S: serde::Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_records_are_prefix_and_number() {
        let hash = "0123456789abcdef0123456789abcdef";
        for (prefix, number) in [
            ("a", 0),
            (hash, 7),
            (hash, u64::MAX),
            (&"\u{e4}".repeat(40), 10),
        ] {
            assert_eq!(numbered(prefix, number), format!("{prefix}-{number}"));
        }
    }
}
