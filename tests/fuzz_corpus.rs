//! Replays the stored corpus of the fuzz targets with the very code that they run.

#[path = "../fuzz/checks/config.rs"]
mod config;
#[path = "../fuzz/checks/pipeline.rs"]
mod pipeline;
#[path = "../fuzz/checks/replay.rs"]
mod replay;

replay::replays!(config: config);
replay::replays!(pipeline: json_edit, script_data);
