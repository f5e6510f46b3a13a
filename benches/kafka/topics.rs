//! Topics that are made for the bench and deleted after it.

use std::cell::RefCell;

use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
};
use tokio::runtime::Runtime;

pub(crate) struct Topics<'r> {
    runtime: &'r Runtime,
    admin: AdminClient<DefaultClientContext>,
    made: RefCell<Vec<String>>,
}

impl<'r> Topics<'r> {
    pub(crate) fn new(runtime: &'r Runtime, brokers: &str) -> Self {
        let admin = ClientConfig::new()
            .set("bootstrap.servers", brokers)
            .create();
        Self {
            runtime,
            admin: admin.expect("an admin client"),
            made: RefCell::default(),
        }
    }

    /// A topic of four partitions that keeps little.
    pub(crate) fn make(&self) -> String {
        let name = format!("bench-{:016x}", fastrand::u64(..));
        let new = NewTopic::new(&name, 4, TopicReplication::Fixed(1))
            .set("retention.bytes", "100000000")
            .set("segment.bytes", "50000000");
        let made = self
            .runtime
            .block_on(self.admin.create_topics([&new], &AdminOptions::new()));
        made.expect("the broker answers")[0]
            .as_ref()
            .expect("a topic");
        self.made.borrow_mut().push(name.clone());
        name
    }
}

impl Drop for Topics<'_> {
    fn drop(&mut self) {
        let made = self.made.take();
        let names: Vec<&str> = made.iter().map(String::as_str).collect();
        let deleted = self
            .runtime
            .block_on(self.admin.delete_topics(&names, &AdminOptions::new()));
        if let Err(error) = deleted {
            eprintln!("the topics of the bench stay: {error}");
        }
    }
}
