//! What a check found, in lines.

use crate::sink::kafka::Config;

/// Lines, and how many of them say that something is wrong.
pub(super) struct Report {
    text: String,
    wrong: usize,
    /// What every command of Kafka's tools begins with.
    pub(super) bootstrap: String,
}

impl Report {
    pub(super) fn new(config: &Config) -> Self {
        let properties = if config.tls.is_some() || config.sasl.is_some() {
            " --command-config client.properties"
        } else {
            ""
        };
        Self {
            text: String::new(),
            wrong: 0,
            bootstrap: format!("--bootstrap-server {}{properties}", config.brokers),
        }
    }

    pub(super) fn fine(&mut self, line: impl AsRef<str>) {
        self.line("ok   ", line.as_ref());
    }

    pub(super) fn note(&mut self, line: impl AsRef<str>) {
        self.line("note ", line.as_ref());
    }

    /// Something is wrong; the commands mend it.
    pub(super) fn wrong(&mut self, line: impl AsRef<str>, commands: &[String]) {
        self.wrong += 1;
        self.line("WRONG", line.as_ref());
        for command in commands {
            self.line("     ", &format!("  {command}"));
        }
    }

    pub(super) fn is_fine(&self) -> bool {
        self.wrong == 0
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    fn line(&mut self, word: &str, line: &str) {
        for part in ["  ", word, " ", line, "\n"] {
            self.text.push_str(part);
        }
    }

    /// Changes a setting of a topic.
    pub(super) fn alter(
        &self,
        topic: &str,
        setting: &str,
        value: impl std::fmt::Display,
    ) -> String {
        format!(
            "kafka-configs.sh {} --alter --entity-type topics --entity-name {topic} --add-config {setting}={value}",
            self.bootstrap
        )
    }

    /// Gives the sink's user a permission.
    pub(super) fn grant(&self, user: &str, what: &str) -> String {
        format!(
            "kafka-acls.sh {} --add --allow-principal User:{user} {what}",
            self.bootstrap
        )
    }
}
