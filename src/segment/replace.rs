//! Small files beside a log, replaced as a whole.

use std::io;
use std::path::Path;

use super::FileLayer;

const MAX_BYTES: u64 = 64 << 20;

/// Replaces `name` in `dir` durably: after a power cut it holds either all of the old or all of the new content.
pub fn replace_file(
    files: &dyn FileLayer,
    dir: &Path,
    name: &str,
    content: &[u8],
) -> io::Result<()> {
    let fresh = dir.join(format!("{name}.new"));
    match files.remove(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = files.create(&fresh)?;
    file.write_all_at(content, 0)?;
    file.sync_data()?;
    files.rename(&fresh, &dir.join(name))?;
    files.sync_dir(dir)
}

/// The content of `name` in `dir`; `None` if there is no such file.
pub fn read_file(files: &dyn FileLayer, dir: &Path, name: &str) -> io::Result<Option<Vec<u8>>> {
    let file = match files.open(&dir.join(name)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let mut content = vec![0; file.length()?.min(MAX_BYTES) as usize];
    let read = file.read_at(&mut content, 0)?;
    content.truncate(read);
    Ok(Some(content))
}
