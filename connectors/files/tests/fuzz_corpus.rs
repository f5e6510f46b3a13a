//! Replays the stored corpus of the fuzz targets with the very code that they run.

#[path = "../../../fuzz/checks/files.rs"]
mod files;
#[path = "../../../fuzz/checks/replay.rs"]
mod replay;

replay::replays!(files: files_csv, files_json_lines, files_json_array, files_lines, files_compressed);
