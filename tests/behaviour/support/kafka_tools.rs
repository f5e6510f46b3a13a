//! Runs the lines of Kafka's own tools that Headgate prints, without Java: each is one request to the cluster.
//!
//! Requests are written by hand in the versions that need no compact encoding: CreateAcls 1, IncrementalAlterConfigs 0
//! (<https://kafka.apache.org/protocol>).

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication},
    client::DefaultClientContext,
};

/// Runs a line such as `kafka-acls.sh --bootstrap-server … --add …`; but at `brokers`, as a user who may do anything.
///
/// # Panics
/// If the line is not what the tool takes, or the cluster refuses what it says.
pub(crate) async fn run(brokers: &str, line: &str) {
    let words: Vec<&str> = line.split_whitespace().collect();
    let (tool, words) = words.split_first().unwrap();
    let options = Options::of(words);
    match *tool {
        "kafka-acls.sh" => acls(brokers, &options),
        "kafka-configs.sh" => configs(brokers, &options, false).unwrap(),
        "kafka-topics.sh" => topics(brokers, &options).await,
        other => panic!("`{other}` is none of Kafka's tools"),
    }
}

/// Whether the cluster would take a line of `kafka-configs.sh`; says why not.
pub(crate) fn would_take(brokers: &str, line: &str) -> Result<(), String> {
    let words: Vec<&str> = line.split_whitespace().skip(1).collect();
    configs(brokers, &Options::of(&words), true)
}

/// The options of a line, with their values.
struct Options<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Options<'a> {
    fn of(words: &[&'a str]) -> Self {
        let mut options: Vec<(&str, &str)> = Vec::new();
        for word in words {
            match word.strip_prefix("--") {
                Some(name) => options.push((name, "")),
                None => {
                    let (name, value) = options.last_mut().unwrap();
                    assert!(value.is_empty(), "`--{name}` has two values");
                    *value = word.trim_matches('\'');
                }
            }
        }
        Self(options)
    }

    fn all(&self, name: &str) -> Vec<&'a str> {
        let named = self.0.iter().filter(|(known, _)| *known == name);
        named.map(|(_, value)| *value).collect()
    }

    fn one(&self, name: &str) -> Option<&'a str> {
        let all = self.all(name);
        assert!(all.len() < 2, "`--{name}` is there twice");
        all.first().copied()
    }

    fn needed(&self, name: &str) -> &'a str {
        let value = self.one(name);
        value.unwrap_or_else(|| panic!("`--{name}` is missing"))
    }
}

fn acls(brokers: &str, options: &Options<'_>) {
    options.needed("add");
    let kinds = [("topic", 2), ("cluster", 4), ("transactional-id", 5)];
    let is_given = |(option, _): &&(&str, i8)| !options.all(option).is_empty();
    let (kind, code) = kinds.iter().find(is_given).unwrap();
    let name = match *kind {
        "cluster" => "kafka-cluster",
        _ => options.needed(kind),
    };
    let pattern = match options.one("resource-pattern-type") {
        None => 3,
        Some("prefixed") => 4,
        Some(other) => panic!("`{other}` is no type of pattern"),
    };
    let mut entries = Vec::new();
    for principal in options.all("allow-principal") {
        for operation in options.all("operation") {
            let operation = match operation {
                "Read" => 3,
                "Write" => 4,
                "Create" => 5,
                "Describe" => 8,
                "DescribeConfigs" => 10,
                "IdempotentWrite" => 12,
                other => panic!("`{other}` is no operation"),
            };
            let mut entry = Body::default();
            entry.byte(*code).text(name).byte(pattern);
            entry.text(principal).text("*");
            entry.byte(operation).byte(3);
            entries.push(entry);
        }
    }
    assert!(!entries.is_empty(), "nobody, or nothing, is named");
    let mut body = Body::default();
    body.number(i32::try_from(entries.len()).unwrap());
    for entry in &entries {
        body.0.extend(&entry.0);
    }
    let mut answer = ask(brokers, 30, 1, &body);
    answer.number();
    for _ in 0..answer.number() {
        let (code, message) = (answer.short(), answer.text());
        assert_eq!(code, 0, "{message:?}");
    }
}

fn configs(brokers: &str, options: &Options<'_>, only_asks: bool) -> Result<(), String> {
    options.needed("alter");
    let (kind, name) = match options.needed("entity-type") {
        "topics" => (2, options.needed("entity-name")),
        "brokers" => {
            options.needed("entity-default");
            (4, "")
        }
        other => panic!("`{other}` have no settings here"),
    };
    let (setting, value) = options.needed("add-config").split_once('=').unwrap();
    let mut body = Body::default();
    body.number(1).byte(kind).text(name);
    body.number(1).text(setting).byte(0).text(value);
    body.byte(i8::from(only_asks));
    let mut answer = ask(brokers, 44, 0, &body);
    answer.number();
    assert_eq!(answer.number(), 1);
    match (answer.short(), answer.text()) {
        (0, _) => Ok(()),
        (code, message) => Err(format!("{code}: {}", message.unwrap_or_default())),
    }
}

async fn topics(brokers: &str, options: &Options<'_>) {
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .create()
        .unwrap();
    let (topic, partitions) = (options.needed("topic"), options.needed("partitions"));
    let cx = AdminOptions::new();
    let results = if options.one("create").is_some() {
        let partitions = partitions.parse().unwrap();
        let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(-1));
        admin.create_topics([&new], &cx).await.unwrap()
    } else {
        options.needed("alter");
        let more = NewPartitions::new(topic, partitions.parse().unwrap());
        admin.create_partitions([&more], &cx).await.unwrap()
    };
    results[0].as_ref().unwrap();
}

/// Sends a request, and returns what follows the header of its answer.
fn ask(brokers: &str, key: i16, version: i16, body: &Body) -> Answer {
    let mut request = Body::default();
    request.short(key).short(version).number(7).text("tests");
    request.0.extend(&body.0);
    let mut connection = TcpStream::connect(brokers).unwrap();
    let patience = Some(Duration::from_secs(30));
    connection.set_read_timeout(patience).unwrap();
    let length = u32::try_from(request.0.len()).unwrap();
    connection.write_all(&length.to_be_bytes()).unwrap();
    connection.write_all(&request.0).unwrap();
    let mut length = [0; 4];
    connection.read_exact(&mut length).unwrap();
    let mut answer = vec![0; u32::from_be_bytes(length) as usize];
    connection.read_exact(&mut answer).unwrap();
    let mut answer = Answer(answer, 0);
    assert_eq!(answer.number(), 7);
    answer
}

#[derive(Default)]
struct Body(Vec<u8>);

impl Body {
    fn byte(&mut self, value: i8) -> &mut Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    fn short(&mut self, value: i16) -> &mut Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    fn number(&mut self, value: i32) -> &mut Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    fn text(&mut self, value: &str) -> &mut Self {
        self.short(i16::try_from(value.len()).unwrap());
        self.0.extend(value.as_bytes());
        self
    }
}

/// An answer, and how far it was read.
struct Answer(Vec<u8>, usize);

impl Answer {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        self.1 += N;
        self.0[self.1 - N..self.1].try_into().unwrap()
    }

    fn short(&mut self) -> i16 {
        i16::from_be_bytes(self.take())
    }

    fn number(&mut self) -> i32 {
        i32::from_be_bytes(self.take())
    }

    fn text(&mut self) -> Option<String> {
        let length = usize::try_from(self.short()).ok()?;
        self.1 += length;
        let text = &self.0[self.1 - length..self.1];
        Some(String::from_utf8_lossy(text).into_owned())
    }
}
