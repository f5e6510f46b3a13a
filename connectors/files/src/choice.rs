//! Which files a source takes: by name before they are touched, by size, and by media type once they are read.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _, path::Path};

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

/// Names of files that are still being written, by the habit of the programs that write them.
pub const TEMPORARY_NAMES: [&str; 9] = [
    ".*",
    "~$*",
    "*~",
    "*.part",
    "*.partial",
    "*.tmp",
    "*.temp",
    "*.crdownload",
    "*.filepart",
];

/// The choice of one source.
#[derive(Debug, Clone)]
pub struct Choice {
    include: GlobSet,
    exclude: GlobSet,
    temporary: GlobSet,
    extensions: Vec<String>,
    media_types: GlobSet,
    min_bytes: u64,
    max_bytes: u64,
    marker: Option<String>,
}

/// What a choice is made from; empty lists mean "no restriction".
#[derive(Debug, Clone, Copy)]
pub struct ChoiceSpec<'a> {
    /// Globs of paths that are taken. A glob without `/` is matched against the name alone.
    pub include: &'a [String],
    /// Globs of paths that are not taken.
    pub exclude: &'a [String],
    /// Globs of names that mean "still being written".
    pub temporary: &'a [String],
    /// Extensions without dot, any case.
    pub extensions: &'a [String],
    /// Globs of media types, such as `image/*`.
    pub media_types: &'a [String],
    /// Smallest size that is taken.
    pub min_bytes: u64,
    /// Largest size that is taken.
    pub max_bytes: u64,
    /// Suffix of the empty file that says "the file of this name is complete".
    pub marker: Option<&'a str>,
}

/// A pattern that is no glob.
#[derive(Debug, thiserror::Error)]
#[error("`{pattern}` in `{key}` is not a glob: {source}")]
pub struct ChoiceError {
    /// The configuration's key.
    pub key: &'static str,
    /// What was written.
    pub pattern: String,
    /// Why.
    #[source]
    pub source: globset::Error,
}

impl Choice {
    /// Compiles a choice.
    ///
    /// # Errors
    /// All patterns that are no globs.
    pub fn new(spec: ChoiceSpec<'_>) -> Result<Self, Vec<ChoiceError>> {
        let mut errors = Vec::new();
        let mut compile = |key, patterns| globs(key, patterns, &mut errors);
        let choice = Self {
            include: compile("include", spec.include),
            exclude: compile("exclude", spec.exclude),
            temporary: compile("temporary_names", spec.temporary),
            media_types: compile("media_types", spec.media_types),
            extensions: spec
                .extensions
                .iter()
                .map(|e| e.trim_start_matches('.').to_lowercase())
                .collect(),
            min_bytes: spec.min_bytes,
            max_bytes: spec.max_bytes,
            marker: spec.marker.map(str::to_owned),
        };
        if errors.is_empty() {
            Ok(choice)
        } else {
            Err(errors)
        }
    }

    /// Whether a file at `path`, relative to its folder, is wanted as far as its name tells.
    #[must_use]
    pub fn wants_name(&self, path: &Path) -> bool {
        let Some(name) = path.file_name() else {
            return false;
        };
        if self.temporary.is_match(name) || self.marks(name).is_some() {
            return false;
        }
        if !self.extensions.is_empty() {
            let extension = path
                .extension()
                .map(|e| e.to_string_lossy().to_lowercase())
                .unwrap_or_default();
            if !self.extensions.contains(&extension) {
                return false;
            }
        }
        (self.include.is_empty() || matches(&self.include, path, name))
            && !matches(&self.exclude, path, name)
    }

    /// Whether a directory of this name may hold wanted files.
    #[must_use]
    pub fn wants_folder(&self, name: &OsStr) -> bool {
        !self.temporary.is_match(name)
    }

    /// Whether a file of `bytes` bytes is wanted.
    #[must_use]
    pub const fn wants_size(&self, bytes: u64) -> bool {
        bytes >= self.min_bytes && bytes <= self.max_bytes
    }

    /// Whether a file of this media type is wanted.
    #[must_use]
    pub fn wants_media_type(&self, media_type: &str) -> bool {
        self.media_types.is_empty() || self.media_types.is_match(media_type)
    }

    /// The suffix that marks a complete file, if markers are used.
    #[must_use]
    pub fn marker(&self) -> Option<&str> {
        self.marker.as_deref()
    }

    /// If `name` is a marker: the name of the file that it marks.
    #[must_use]
    pub fn marks<'a>(&self, name: &'a OsStr) -> Option<&'a OsStr> {
        let marked = name.as_bytes().strip_suffix(self.marker()?.as_bytes())?;
        (!marked.is_empty()).then(|| OsStr::from_bytes(marked))
    }
}

fn globs(key: &'static str, patterns: &[String], errors: &mut Vec<ChoiceError>) -> GlobSet {
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        match GlobBuilder::new(pattern)
            .literal_separator(true)
            .case_insensitive(true)
            .build()
        {
            Ok(glob) => {
                set.add(glob);
            }
            Err(source) => errors.push(ChoiceError {
                key,
                pattern: pattern.clone(),
                source,
            }),
        }
    }
    set.build().unwrap_or_else(|_| GlobSet::empty())
}

fn matches(set: &GlobSet, path: &Path, name: &OsStr) -> bool {
    !set.is_empty() && (set.is_match(path) || set.is_match(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(list: &[&str]) -> Vec<String> {
        list.iter().map(|&s| s.to_owned()).collect()
    }

    fn choice(include: &[&str], exclude: &[&str], extensions: &[&str]) -> Choice {
        Choice::new(ChoiceSpec {
            include: &strings(include),
            exclude: &strings(exclude),
            temporary: &strings(&TEMPORARY_NAMES),
            extensions: &strings(extensions),
            media_types: &strings(&["image/*", "application/pdf"]),
            min_bytes: 1,
            max_bytes: 10,
            marker: Some(".done"),
        })
        .unwrap()
    }

    #[test]
    fn globs_match_names_or_whole_paths() {
        let choice = choice(&["*.pdf", "in/**/*.xml"], &["draft-*", "old/**"], &[]);
        for (path, wanted) in [
            ("a.pdf", true),
            ("deep/er/A.PDF", true),
            ("in/x/y.xml", true),
            ("y.xml", false),
            ("draft-a.pdf", false),
            ("old/a.pdf", false),
        ] {
            assert_eq!(choice.wants_name(Path::new(path)), wanted, "{path}");
        }
    }

    #[test]
    fn temporary_names_and_markers_are_never_files() {
        let choice = choice(&[], &[], &[]);
        for name in [
            "a.pdf.part",
            "x.tmp",
            "~$report.docx",
            ".DS_Store",
            "v.crdownload",
            "a.pdf.done",
        ] {
            assert!(!choice.wants_name(Path::new(name)), "{name}");
        }
        assert_eq!(
            choice.marks(OsStr::new("a.pdf.done")),
            Some(OsStr::new("a.pdf"))
        );
        assert_eq!(choice.marks(OsStr::new(".done")), None);
        assert!(!choice.wants_folder(OsStr::new(".git")));
    }

    #[test]
    fn extensions_sizes_and_media_types_restrict() {
        let choice = choice(&[], &[], &["PDF", ".png"]);
        assert!(choice.wants_name(Path::new("a.Pdf")));
        assert!(!choice.wants_name(Path::new("a.xml")));
        assert!(!choice.wants_name(Path::new("pdf")));
        assert!(choice.wants_size(10) && !choice.wants_size(11) && !choice.wants_size(0));
        assert!(choice.wants_media_type("image/png") && !choice.wants_media_type("text/csv"));
    }

    #[test]
    fn every_bad_pattern_is_named() {
        let bad = strings(&["[a", "{b"]);
        let errors = Choice::new(ChoiceSpec {
            include: &bad,
            exclude: &[],
            temporary: &[],
            extensions: &[],
            media_types: &[],
            min_bytes: 0,
            max_bytes: u64::MAX,
            marker: None,
        })
        .unwrap_err();
        assert_eq!(errors.len(), 2);
        assert!(errors[0].to_string().contains("`[a` in `include`"));
    }
}
