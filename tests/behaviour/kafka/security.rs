//! TLS and SASL against the real broker.

use headgate::sink::{
    Sink as _,
    kafka::{Config, Mechanism, Sasl, Tls},
};
use headgate_sdk::{config::Secret, status::State};

use super::{brokers, counted, open, state, topic};
use crate::support::{
    consumer::read_all,
    server,
    way::{Way, assert_complete, durable, numbered},
};

fn tls() -> Tls {
    Tls {
        ca: Some(server("KAFKA_CA", "kafka").into()),
        ..Tls::default()
    }
}

fn sasl(mechanism: Mechanism) -> Sasl {
    Sasl {
        mechanism,
        username: server("KAFKA_USER", "kafka"),
        password: Secret::new(server("KAFKA_PASSWORD", "kafka")),
    }
}

#[tokio::test]
async fn every_listener_and_mechanism_is_spoken() {
    let plain = brokers();
    let mechanisms = [
        Mechanism::Plain,
        Mechanism::ScramSha256,
        Mechanism::ScramSha512,
    ];
    let mut ways: Vec<(&str, Option<Tls>, Option<Sasl>)> =
        vec![("KAFKA_SSL_BROKERS", Some(tls()), None)];
    for mechanism in mechanisms {
        ways.push(("KAFKA_SASL_PLAINTEXT_BROKERS", None, Some(sasl(mechanism))));
        ways.push(("KAFKA_SASL_SSL_BROKERS", Some(tls()), Some(sasl(mechanism))));
    }
    for (variable, tls, sasl) in ways {
        let topic = topic(&plain, 1, &[]).await;
        let mut config = Config::new(server(variable, "kafka"));
        (config.tls, config.sasl) = (tls, sasl);
        let sink = open(config);
        let mut way = Way::new(sink.clone(), "l", &topic);
        way.deliver((0..10).map(numbered).collect()).await;
        sink.close().await;
        assert_complete(&read_all(&plain, &topic, "read_committed"), 0..10);
    }
}

/// Nothing is written, nothing is given up, and the state says what to mend.
async fn refused(config: Config, says: &str, error: &str) {
    let topic = topic(&brokers(), 1, &[]).await;
    let sink = open(config);
    let mut way = Way::new(sink.clone(), "l", &topic);
    let outcome = tokio::spawn(durable(way.send(vec![numbered(0)]).await));
    let shown = state(&sink, |state| {
        matches!(state, State::Waiting(_))
            && state.reason().is_some_and(|reason| reason.contains(says))
    });
    shown.await;
    let counts = Some(("error", error));
    counted(&sink, "headgate_kafka_errors_total", counts).await;
    counted(
        &sink,
        "headgate_sink_breaker_state",
        Some(("state", "open")),
    )
    .await;
    assert!(!outcome.is_finished());
    assert!(way.letters.all().await.is_empty());
    outcome.abort();
}

#[tokio::test]
async fn a_wrong_password_waits_and_says_so() {
    let mut config = Config::new(server("KAFKA_SASL_SSL_BROKERS", "kafka"));
    config.tls = Some(tls());
    let mut wrong = sasl(Mechanism::ScramSha512);
    wrong.password = Secret::new("not it");
    config.sasl = Some(wrong);
    refused(config, "check `sasl`", "Authentication").await;
}

#[tokio::test]
async fn an_expired_certificate_waits_and_says_so() {
    let mut config = Config::new(server("KAFKA_EXPIRED_BROKERS", "kafka"));
    config.tls = Some(tls());
    refused(config, "check `tls.ca` and the certificates' dates", "SSL").await;
}

#[tokio::test]
async fn an_unknown_authority_waits_and_says_so() {
    let mut config = Config::new(server("KAFKA_SSL_BROKERS", "kafka"));
    config.tls = Some(Tls::default());
    refused(config, "check `tls.ca`", "SSL").await;
}

#[tokio::test]
async fn a_missing_certificate_file_is_said_at_once() {
    let mut config = Config::new("localhost:1");
    config.tls = Some(Tls {
        ca: Some("/nowhere/ca.pem".into()),
        ..Tls::default()
    });
    let error = headgate::sink::kafka::KafkaSink::open("main".into(), config)
        .err()
        .unwrap();
    let said = error.to_string();
    assert!(
        said.starts_with("`tls.ca`: /nowhere/ca.pem cannot be read"),
        "{said}"
    );
}
