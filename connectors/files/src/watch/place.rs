//! What lies under a folder: a local disk, or a share that tells nothing about changes made elsewhere.

use std::{io, path::Path};

use rustix::fs::statfs;

/// File systems (`f_type` of statfs(2)) on which other machines change files and the kernel here hears nothing of it.
const REMOTE: [(i64, &str); 11] = [
    (0x6969, "nfs"),
    (0xFF53_4D42, "cifs"),
    (0xFE53_4D42, "smb2"),
    (0x517B, "smb"),
    (0x6573_5546, "fuse"),
    (0x0102_1997, "9p"),
    (0x00C3_6400, "ceph"),
    (0x5346_414F, "afs"),
    (0x7461_636F, "ocfs2"),
    (0x0BD0_0BD0, "lustre"),
    (0x786F_4256, "vboxsf"),
];

/// The name of the remote file system on which `folder` lies; `None` if it is a local one.
///
/// # Errors
/// If the folder is not there.
pub fn remote_file_system(folder: &Path) -> io::Result<Option<&'static str>> {
    let kind = statfs(folder)?.f_type;
    #[expect(
        clippy::useless_conversion,
        reason = "f_type is narrower on some targets"
    )]
    let kind = i64::from(kind);
    Ok(name_of(kind))
}

fn name_of(kind: i64) -> Option<&'static str> {
    REMOTE
        .iter()
        .find(|(magic, _)| *magic == kind & 0xFFFF_FFFF)
        .map(|(_, name)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_told_from_disks() {
        assert_eq!(name_of(0x6969), Some("nfs"));
        assert_eq!(name_of(-11_317_950), Some("cifs"));
        assert_eq!(name_of(0xEF53), None);
        let local = tempfile::tempdir().unwrap();
        assert_eq!(remote_file_system(local.path()).unwrap(), None);
        assert!(remote_file_system(&local.path().join("gone")).is_err());
    }
}
