//! What Headgate is built from.

use std::{collections::BTreeSet, process::Command};

use crate::support::root;

/// The licences that `deny.toml` allows.
fn allowed() -> BTreeSet<String> {
    let text = std::fs::read_to_string(root().join("deny.toml")).unwrap();
    let list = text.split("\nallow = [").nth(1).unwrap();
    let list = list.split(']').next().unwrap();
    list.lines()
        .filter_map(|line| {
            let name = line.trim().trim_end_matches(',');
            Some(name.strip_prefix('"')?.strip_suffix('"')?.to_owned())
        })
        .collect()
}

/// Whether an SPDX expression can be satisfied with `allowed`. `AND` binds closer than `OR`; older crates write `/` for `OR`.
fn is_allowed(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let spaced = expression
        .replace('/', " OR ")
        .replace('(', " ( ")
        .replace(')', " ) ")
        .replace(" WITH ", "~");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let (fine, rest) = any(&words, allowed);
    assert!(rest.is_empty(), "{expression} is not understood");
    fine
}

fn any<'w>(words: &'w [&'w str], allowed: &BTreeSet<String>) -> (bool, &'w [&'w str]) {
    let (mut fine, mut rest) = all(words, allowed);
    while let ["OR", more @ ..] = rest {
        let (also, after) = all(more, allowed);
        (fine, rest) = (fine || also, after);
    }
    (fine, rest)
}

fn all<'w>(words: &'w [&'w str], allowed: &BTreeSet<String>) -> (bool, &'w [&'w str]) {
    let (mut fine, mut rest) = one(words, allowed);
    while let ["AND", more @ ..] = rest {
        let (also, after) = one(more, allowed);
        (fine, rest) = (fine && also, after);
    }
    (fine, rest)
}

fn one<'w>(words: &'w [&'w str], allowed: &BTreeSet<String>) -> (bool, &'w [&'w str]) {
    match words {
        ["(", inner @ ..] => {
            let (fine, rest) = any(inner, allowed);
            (fine, rest.strip_prefix(&[")"]).unwrap())
        }
        [name, rest @ ..] => (allowed.contains(&name.replace('~', " WITH ")), rest),
        [] => (false, words),
    }
}

#[test]
fn licences_are_read_as_spdx_writes_them() {
    let allowed = ["MIT", "A WITH x"].map(str::to_owned).into();
    for (expression, fine) in [
        ("MIT", true),
        ("GPL-3.0", false),
        ("GPL-3.0 OR MIT", true),
        ("GPL-3.0/MIT", true),
        ("MIT AND GPL-3.0", false),
        ("(MIT OR GPL-3.0) AND A WITH x", true),
        ("GPL-3.0 AND MIT OR MIT", true),
        ("MIT AND (GPL-3.0 OR B WITH x)", false),
    ] {
        assert_eq!(is_allowed(expression, &allowed), fine, "{expression}");
    }
}

#[test]
fn every_dependency_may_be_part_of_an_apache_program() {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--offline", "--locked", "--format-version", "1"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    assert!(packages.len() > 100);
    let allowed = allowed();
    let refused: Vec<String> = packages
        .iter()
        .filter(|package| {
            let licence = package["license"].as_str().unwrap_or_default();
            !is_allowed(licence, &allowed)
        })
        .map(|package| format!("{} {}", package["name"], package["license"]))
        .collect();
    assert!(
        refused.is_empty(),
        "`deny.toml` does not allow the licences of {refused:#?}"
    );
    let foreign: Vec<&str> = packages
        .iter()
        .filter_map(|package| package["source"].as_str())
        .filter(|source| {
            !source.starts_with("registry+https://github.com/rust-lang/crates.io-index")
        })
        .collect();
    assert!(foreign.is_empty(), "not from crates.io: {foreign:?}");
}
