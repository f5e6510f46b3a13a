//! `hstore`: `"a"=>"1", "b"=>NULL`, as its output function writes it.

use super::{array::quoted, write::write_json_string};

/// Appends `text` as a JSON object; `false` (and nothing appended) if it is no hstore.
pub(super) fn write(text: &str, out: &mut Vec<u8>) -> bool {
    let start = out.len();
    let done = pairs(text, out).is_some();
    if !done {
        out.truncate(start);
    }
    done
}

fn pairs(text: &str, out: &mut Vec<u8>) -> Option<()> {
    out.push(b'{');
    let mut at = 0;
    while at < text.len() {
        if at > 0 {
            at += text.get(at..)?.starts_with(", ").then_some(2)?;
            out.push(b',');
        }
        text.get(at..)?.starts_with('"').then_some(())?;
        let (key, end) = quoted(text, at + 1)?;
        write_json_string(&key, out);
        out.push(b':');
        let rest = text.get(end..)?.strip_prefix("=>")?;
        at = end + 2;
        if rest.starts_with('"') {
            let (value, end) = quoted(text, at + 1)?;
            write_json_string(&value, out);
            at = end;
        } else {
            rest.starts_with("NULL").then_some(())?;
            out.extend_from_slice(b"null");
            at += 4;
        }
    }
    out.push(b'}');
    Some(())
}
