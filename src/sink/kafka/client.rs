//! From our settings to librdkafka's.

use rdkafka::ClientConfig;

use super::{Config, context::FIGURES_EVERY};

/// How to reach the cluster; for producers, admin requests and consumers alike.
pub(super) fn connection(config: &Config) -> ClientConfig {
    let mut client = ClientConfig::new();
    client
        .set("bootstrap.servers", &config.brokers)
        .set("client.id", "headgate")
        .set("socket.keepalive.enable", "true")
        .set("reconnect.backoff.ms", "100")
        .set("reconnect.backoff.max.ms", "5000")
        .set("log.connection.close", "false");
    let protocol = match (&config.tls, &config.sasl) {
        (None, None) => "plaintext",
        (Some(_), None) => "ssl",
        (None, Some(_)) => "sasl_plaintext",
        (Some(_), Some(_)) => "sasl_ssl",
    };
    client.set("security.protocol", protocol);
    if let Some(tls) = &config.tls {
        let files = [
            ("ssl.ca.location", &tls.ca),
            ("ssl.certificate.location", &tls.certificate),
            ("ssl.key.location", &tls.key),
        ];
        for (name, file) in files {
            if let Some(file) = file {
                client.set(name, file.to_string_lossy());
            }
        }
        let verify = if tls.verify_hostname { "https" } else { "none" };
        client.set("ssl.endpoint.identification.algorithm", verify);
    }
    if let Some(sasl) = &config.sasl {
        client
            .set("sasl.mechanism", sasl.mechanism.name())
            .set("sasl.username", &sasl.username)
            .set("sasl.password", sasl.password.expose());
    }
    for (name, value) in &config.settings {
        client.set(name, value);
    }
    client
}

/// An idempotent producer that never takes a record back.
pub(super) fn producer(config: &Config) -> ClientConfig {
    let mut client = connection(config);
    let linger_ms = config.linger.get().as_secs_f64() * 1000.0;
    client
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("message.timeout.ms", "0")
        .set("partitioner", "murmur2_random")
        .set("compression.type", config.compression.name())
        .set("batch.size", config.batch_size.bytes().to_string())
        .set("linger.ms", linger_ms.to_string())
        .set(
            "message.max.bytes",
            config.max_message_bytes.bytes().to_string(),
        )
        // Our own room is smaller than both, so that the queue is never found full.
        .set("queue.buffering.max.messages", "10000000")
        .set("queue.buffering.max.kbytes", "2147483647")
        .set("statistics.interval.ms", (FIGURES_EVERY * 1000).to_string());
    client
}
