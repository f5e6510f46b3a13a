//! Replays the stored corpus of the fuzz targets with the very code that they run.

#[path = "../../../fuzz/checks/replay.rs"]
mod replay;
#[path = "../../../fuzz/checks/webhook.rs"]
mod webhook;

replay::replays!(webhook: webhook_signature, webhook_header, webhook_multipart, webhook_compressed);
