//! Replays the stored corpus of the fuzz targets with the very code that they run.

#[path = "../../../fuzz/checks/envelope.rs"]
mod envelope;
#[path = "../../../fuzz/checks/replay.rs"]
mod replay;

replay::replays!(envelope: event_json, event_batch, event_http, event_kafka, event_wire);
