#![no_main]

#[path = "../checks/webhook.rs"]
#[allow(dead_code, reason = "each target uses one check of the file")]
mod webhook;

libfuzzer_sys::fuzz_target!(|data: &[u8]| webhook::webhook_multipart(data));
