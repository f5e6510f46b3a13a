//! What is wrong with the files of `tls`, in words for people: librdkafka would say it in OpenSSL's.

use std::{fs, path::Path};

use rdkafka::error::KafkaError;

use super::config::{Config, Tls};
use crate::sink::SinkError;

/// A key of `tls` that names a file.
struct Setting<'a> {
    key: &'static str,
    /// librdkafka's name for it.
    theirs: &'static str,
    file: Option<&'a Path>,
    /// What is in the line that begins it.
    mark: &'static str,
    expected: &'static str,
}

/// Looks whether the files are there and of the right kind.
///
/// # Errors
/// [`SinkError`] that names the key, the file, and what is expected there.
pub(super) fn check(config: &Config) -> Result<(), SinkError> {
    let Some(tls) = &config.tls else {
        return Ok(());
    };
    for setting in settings(tls) {
        let Some(file) = setting.file else { continue };
        // librdkafka also takes a folder of authorities, named by their hashes.
        if setting.key == "ca" && file.is_dir() {
            continue;
        }
        let text = fs::read(file).map_err(|error| {
            let said = format!("cannot be read: {error}");
            SinkError::caused(setting.says(file, &said), error)
        })?;
        let text = String::from_utf8_lossy(&text);
        let begins = |line: &str| line.starts_with("-----BEGIN ") && line.contains(setting.mark);
        if !text.lines().any(begins) {
            return Err(SinkError::new(setting.says(file, "is of another kind")));
        }
    }
    Ok(())
}

/// Why a client of the cluster could not be made.
pub(super) fn unmade(config: &Config, error: KafkaError) -> SinkError {
    let said = error.to_string();
    let mut settings = config.tls.iter().flat_map(settings);
    let about = settings.find(|setting| said.contains(setting.theirs));
    let message = about.and_then(|setting| {
        let damaged = "is damaged, or does not belong to the others";
        Some(setting.says(setting.file?, damaged))
    });
    let message = message.unwrap_or_else(|| {
        format!("cannot make a Kafka client: {said}; check the sink's settings")
    });
    SinkError::caused(message, error)
}

impl Setting<'_> {
    fn says(&self, file: &Path, said: &str) -> String {
        let Self { key, expected, .. } = self;
        format!(
            "`tls.{key}`: {} {said}; expected is {expected}",
            file.display()
        )
    }
}

fn settings(tls: &Tls) -> [Setting<'_>; 3] {
    [
        Setting {
            key: "ca",
            theirs: "ssl.ca.location",
            file: tls.ca.as_deref(),
            mark: "CERTIFICATE-----",
            expected: "a PEM file with the certificates of the authorities to trust (`-----BEGIN CERTIFICATE-----`)",
        },
        Setting {
            key: "certificate",
            theirs: "ssl.certificate.location",
            file: tls.certificate.as_deref(),
            mark: "CERTIFICATE-----",
            expected: "a PEM file with the client's certificate (`-----BEGIN CERTIFICATE-----`)",
        },
        Setting {
            key: "key",
            theirs: "ssl.key.location",
            file: tls.key.as_deref(),
            mark: "PRIVATE KEY-----",
            expected: "a PEM file with the key of the client's certificate (`-----BEGIN PRIVATE KEY-----`)",
        },
    ]
}

#[cfg(test)]
mod tests {
    use rdkafka::producer::BaseProducer;

    use super::*;
    use crate::sink::kafka::client;

    const BODY: &str =
        "-----BEGIN CERTIFICATE-----\nbm8gY2VydGlmaWNhdGU=\n-----END CERTIFICATE-----\n";

    #[test]
    fn a_file_of_another_kind_and_a_damaged_one_are_named_with_what_is_expected() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            path
        };
        let mut config = Config::new("localhost:1");
        let key = file("key.pem", "-----BEGIN PRIVATE KEY-----\n");
        let damaged = file("ca.pem", BODY);
        let says = |config: &Config| check(config).unwrap_err().to_string();

        config.tls = Some(Tls {
            ca: Some(folder.path().join("none.pem")),
            ..Tls::default()
        });
        let said = says(&config);
        assert!(
            said.starts_with("`tls.ca`: ") && said.contains("none.pem cannot be read"),
            "{said}"
        );
        assert!(
            said.contains("expected is a PEM file with the certificates"),
            "{said}"
        );
        config.tls = Some(Tls {
            ca: Some(key.clone()),
            ..Tls::default()
        });
        let said = says(&config);
        assert!(said.contains("key.pem is of another kind"), "{said}");
        config.tls = Some(Tls {
            certificate: Some(damaged.clone()),
            key: Some(damaged.clone()),
            ..Tls::default()
        });
        let said = says(&config);
        assert!(said.starts_with("`tls.key`: "), "{said}");

        config.tls = Some(Tls {
            ca: Some(damaged),
            ..Tls::default()
        });
        check(&config).unwrap();
        let made: Result<BaseProducer, _> = client::producer(&config).create();
        let error = unmade(&config, made.err().unwrap());
        let said = error.to_string();
        assert!(
            said.contains("ca.pem is damaged") && !said.contains("error:"),
            "{said}"
        );
        // A folder of authorities is as good.
        config.tls = Some(Tls {
            ca: Some(folder.path().to_owned()),
            ..Tls::default()
        });
        check(&config).unwrap();
    }
}
