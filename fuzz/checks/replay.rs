//! Replays the stored corpus of a target with the very code that it runs: what the stable tests do with it.

use std::path::Path;

/// Gives every file of the target's corpus to `check`.
pub(crate) fn replay(target: &str, check: fn(&[u8])) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .find(|folder| folder.join("fuzz/corpus").is_dir())
        .expect("the corpus lies in the repository");
    let mut count = 0;
    for entry in std::fs::read_dir(root.join("fuzz/corpus").join(target)).expect("a corpus") {
        let path = entry.expect("a readable folder").path();
        check(&std::fs::read(&path).expect("a readable file"));
        count += 1;
    }
    assert!(count >= 5, "{target}: only {count} files");
}

/// A test for each target.
macro_rules! replays {
    ($checks:ident: $($target:ident),+ $(,)?) => {$(
        #[test]
        fn $target() {
            $crate::replay::replay(stringify!($target), $checks::$target);
        }
    )+};
}
pub(crate) use replays;
