//! What this user may do to topics, as the brokers say themselves.
//!
//! The binding does not offer the question (DescribeTopics with authorized operations), so it is asked through librdkafka's own functions.

use std::{
    collections::HashMap,
    ffi::{CStr, CString},
    ptr, slice,
    time::Duration,
};

use rdkafka::{
    bindings::{self as native, rd_kafka_AclOperation_t as Operation},
    client::{Client, ClientContext},
    types::RDKafkaRespErr,
};

/// What a user may do to a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Rights {
    /// The topic is there; so much may be done. `None`: the brokers do not say.
    To(Option<Vec<Operation>>),
    /// The user may not even see whether it is there.
    Hidden,
    /// There is none.
    Missing,
}

/// Asks what may be done to `topics`. A name that cannot be a topic's is left out. Blocks for at most `patience`.
///
/// # Errors
/// When there was no answer; says why.
pub(super) fn of_topics<C: ClientContext>(
    client: &Client<C>,
    topics: &[String],
    patience: Duration,
) -> Result<HashMap<String, Rights>, String> {
    let names: Vec<CString> = topics
        .iter()
        .filter_map(|topic| CString::new(topic.as_str()).ok())
        .collect();
    let mut pointers: Vec<_> = names.iter().map(|name| name.as_ptr()).collect();
    let patience_ms = i32::try_from(patience.as_millis()).unwrap_or(i32::MAX);
    let mut answers = HashMap::new();
    #[expect(
        unsafe_code,
        reason = "the binding does not offer this request. Every object is made, used and given back here, by one thread; `client` and `names` \
                  outlive them; what the answer points to is copied before the answer is given back; null is checked where it may be"
    )]
    let failed = unsafe {
        let client = client.native_ptr();
        let wanted =
            native::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len());
        let options = native::rd_kafka_AdminOptions_new(
            client,
            native::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS,
        );
        native::rd_kafka_AdminOptions_set_request_timeout(options, patience_ms, ptr::null_mut(), 0);
        let refused = native::rd_kafka_AdminOptions_set_include_authorized_operations(options, 1);
        if !refused.is_null() {
            native::rd_kafka_error_destroy(refused);
        }
        let queue = native::rd_kafka_queue_new(client);
        native::rd_kafka_DescribeTopics(client, wanted, options, queue);
        let event = native::rd_kafka_queue_poll(queue, patience_ms.saturating_add(1000));
        let result = native::rd_kafka_event_DescribeTopics_result(event);
        let failed = if result.is_null() {
            Some("the cluster does not say what this user may do".to_owned())
        } else if native::rd_kafka_event_error(event) != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR
        {
            Some(text(native::rd_kafka_event_error_string(event)))
        } else {
            let mut count = 0;
            let described = native::rd_kafka_DescribeTopics_result_topics(result, &raw mut count);
            for at in 0..count {
                let topic = *described.add(at);
                let name = text(native::rd_kafka_TopicDescription_name(topic));
                answers.insert(name, rights(topic));
            }
            None
        };
        // Null where nothing came in time, which is fine here.
        native::rd_kafka_event_destroy(event);
        native::rd_kafka_queue_destroy(queue);
        native::rd_kafka_AdminOptions_destroy(options);
        native::rd_kafka_TopicCollection_destroy(wanted);
        failed
    };
    match failed {
        None => Ok(answers),
        Some(message) => Err(message),
    }
}

#[expect(
    unsafe_code,
    reason = "called with a description that its answer still holds; the operations are copied"
)]
unsafe fn rights(topic: *const native::rd_kafka_TopicDescription_t) -> Rights {
    let mut count = 0;
    // SAFETY: the caller's promise.
    let (code, operations) = unsafe {
        let error = native::rd_kafka_TopicDescription_error(topic);
        let operations =
            native::rd_kafka_TopicDescription_authorized_operations(topic, &raw mut count);
        (native::rd_kafka_error_code(error), operations)
    };
    match code {
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED => Rights::Hidden,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR if operations.is_null() => Rights::To(None),
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR => {
            // SAFETY: so many are there.
            let operations = unsafe { slice::from_raw_parts(operations, count) };
            Rights::To(Some(operations.to_vec()))
        }
        _ => Rights::Missing,
    }
}

#[expect(
    unsafe_code,
    reason = "called with texts of librdkafka's, which end with a zero; they are copied"
)]
unsafe fn text(text: *const std::ffi::c_char) -> String {
    // SAFETY: the caller's promise.
    unsafe { CStr::from_ptr(text) }
        .to_string_lossy()
        .into_owned()
}
