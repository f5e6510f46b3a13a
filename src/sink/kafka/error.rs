//! What an error of Kafka means for the record that met it.

use rdkafka::types::RDKafkaErrorCode as Code;

/// What to do about a record that was not written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// Send it again later.
    Retriable,
    /// The broker refused the batch that it was in for its size: send it alone to see whether it is the one.
    TooLarge,
    /// The topic has gone: look again before the next attempt.
    UnknownTopic,
    /// The producer is of no more use: make a new one, then send again.
    Fatal,
    /// The broker refused the request that it was in for what one of its records is: send it alone to see whether it is the one.
    Refused,
    /// It would have been written, but for another record of its request: send it alone.
    Innocent,
    /// It can never be written; the reason is a stable word.
    Rejected(&'static str),
}

impl Meaning {
    /// Whether the record is, or may be, one that can never be written.
    pub(super) const fn is_its_own(self) -> bool {
        matches!(self, Self::TooLarge | Self::Refused | Self::Rejected(_))
    }

    /// The stable word for a record of its own kind.
    pub(super) const fn reason(self) -> &'static str {
        match self {
            Self::Rejected(reason) => reason,
            Self::Refused => "refused_by_broker",
            _ => "too_large",
        }
    }

    pub(super) const fn of(code: Code) -> Self {
        match code {
            Code::MessageSizeTooLarge => Self::TooLarge,
            Code::UnknownTopic
            | Code::UnknownTopicOrPartition
            | Code::UnknownPartition
            | Code::UnknownTopicId => Self::UnknownTopic,
            Code::Fatal
            | Code::Fenced
            | Code::ProducerFenced
            | Code::InvalidProducerEpoch
            | Code::OutOfOrderSequenceNumber
            | Code::UnknownProducerId
            | Code::Inconsistent
            | Code::State => Self::Fatal,
            Code::InvalidDifferentRecord => Self::Innocent,
            Code::InvalidTopic => Self::Rejected("invalid_topic"),
            Code::InvalidRecord | Code::PolicyViolation | Code::InvalidTimestamp => Self::Refused,
            _ => Self::Retriable,
        }
    }
}

/// Whether brokers and this client do not get to understand each other, so that nothing else is worth saying.
pub(super) const fn is_of_the_connection(code: Code) -> bool {
    matches!(
        code,
        Code::Authentication | Code::SSL | Code::SaslAuthenticationFailed
    )
}

/// One line for people: what happened and what mends it.
pub(super) fn explain(code: Code, topic: &str) -> String {
    match code {
        Code::MessageSizeTooLarge => format!(
            "the record is larger than topic `{topic}` or `max_message_bytes` allows; raise the topic's max.message.bytes, or use a claim check"
        ),
        Code::TopicAuthorizationFailed => {
            format!("not authorised to write to topic `{topic}`; grant WRITE and DESCRIBE on it")
        }
        Code::ClusterAuthorizationFailed => {
            "not authorised in the cluster; grant IDEMPOTENT_WRITE (or CREATE for new topics)"
                .to_owned()
        }
        Code::TransactionalIdAuthorizationFailed => {
            "not authorised to write in transactions; grant WRITE and DESCRIBE on the transactional ids that begin with the \
             group's name (`headgate kafka check` has the command)"
                .to_owned()
        }
        Code::MessageTimedOut => format!(
            "topic `{topic}` took nothing for as long as a transaction may last; check the brokers' load, their disks, and whether \
             replicas are in sync"
        ),
        Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownTopicId => {
            format!(
                "topic `{topic}` does not exist, or this user may not see it; create it, allow it under `topics.create`, or grant WRITE and DESCRIBE on it"
            )
        }
        Code::InvalidTopic => {
            format!("`{topic}` cannot be a topic's name; mend the route's template")
        }
        Code::NotEnoughReplicas | Code::NotEnoughReplicasAfterAppend => format!(
            "topic `{topic}` has fewer replicas in sync than its min.insync.replicas; bring brokers back"
        ),
        Code::Authentication | Code::SaslAuthenticationFailed => {
            "the broker refused the user or password; check `sasl`".to_owned()
        }
        Code::SSL => {
            "the TLS connection was refused; check `tls.ca` and the certificates' dates and names"
                .to_owned()
        }
        Code::AllBrokersDown
        | Code::BrokerTransportFailure
        | Code::Resolve
        | Code::OperationTimedOut => {
            "no broker answers; check `brokers`, and that the cluster runs".to_owned()
        }
        Code::PurgeInflight | Code::PurgeQueue => {
            "the producer was closed before the broker answered".to_owned()
        }
        other => format!("Kafka answered for topic `{topic}`: {other}"),
    }
}

/// A record that was not written, by its place in the batch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Failure {
    /// Its index in the batch's records.
    pub(super) index: usize,
    /// What Kafka or librdkafka said.
    pub(super) code: Code,
}
