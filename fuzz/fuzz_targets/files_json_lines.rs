#![no_main]

#[path = "../checks/files.rs"]
#[allow(dead_code, reason = "each target uses one check of the file")]
mod files;

libfuzzer_sys::fuzz_target!(|data: &[u8]| files::files_json_lines(data));
