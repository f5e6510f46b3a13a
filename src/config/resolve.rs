//! Fills in `${ENV}`, `${ENV:-default}` and, where a secret belongs, `file:PATH`.
//!
//! A literal `${` is written `$${`. A variable that is empty counts as unset when a default is given, as in a shell. What was
//! filled in is marked, so that no error message shows it.

use std::path::Path;

use headgate_sdk::config::Secret;
use serde_json::Value as Json;

use super::parse::plain_scalar;
use super::schema::walk;
use super::tree::{Node, Origin, Pointer, Value};

/// Where variables and secret files come from; tests bring their own.
pub(super) struct Outside<'a> {
    pub(super) variable: &'a dyn Fn(&str) -> Option<String>,
    pub(super) file: &'a dyn Fn(&Path) -> std::io::Result<String>,
}

/// Resolves every scalar of `root`; reports what is missing by pointer.
pub(super) fn resolve(
    root: &mut Node,
    schema: &Json,
    outside: &Outside<'_>,
) -> Vec<(Pointer, String)> {
    let mut problems = Vec::new();
    variables(root, &Pointer::default(), outside, &mut problems);
    let mut files = Vec::new();
    let mut retyped = Vec::new();
    walk(root, schema, &mut |pointer, node, schemas| {
        if is_secret(schemas)
            && node.origin != Origin::Missing
            && node.text().is_some_and(|text| text.starts_with("file:"))
        {
            files.push(pointer.clone());
        } else if node.origin == Origin::Resolved && node.plain && !allows_text(schemas) {
            retyped.push(pointer.clone());
        }
    });
    for pointer in retyped {
        if let Some(node) = find_mut(root, &pointer)
            && let Some(text) = node.text()
        {
            node.value = plain_scalar(text);
        }
    }
    for pointer in files {
        if let Some(node) = find_mut(root, &pointer)
            && let Err(message) = read_file(node, outside)
        {
            node.origin = Origin::Missing;
            problems.push((pointer, message));
        }
    }
    problems
}

fn variables(
    node: &mut Node,
    pointer: &Pointer,
    outside: &Outside<'_>,
    problems: &mut Vec<(Pointer, String)>,
) {
    match &mut node.value {
        Value::Text(text) => match expand(text, outside.variable) {
            Ok(None) => {}
            Ok(Some(Expanded {
                text: expanded,
                from_outside,
            })) => {
                *text = expanded;
                if from_outside {
                    node.origin = Origin::Resolved;
                }
            }
            Err(messages) => {
                node.origin = Origin::Missing;
                problems.extend(
                    messages
                        .into_iter()
                        .map(|message| (pointer.clone(), message)),
                );
            }
        },
        Value::List(items) => {
            for (at, item) in items.iter_mut().enumerate() {
                variables(item, &pointer.join(at), outside, problems);
            }
        }
        Value::Map(entries) => {
            for (key, item) in entries {
                variables(item, &pointer.join(&key.name), outside, problems);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

struct Expanded {
    text: String,
    from_outside: bool,
}

/// Expands a text; `None` when there is nothing to expand.
fn expand(
    text: &str,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<Option<Expanded>, Vec<String>> {
    if !text.contains("${") {
        return Ok(None);
    }
    let mut expanded = String::with_capacity(text.len());
    let mut from_outside = false;
    let mut problems = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let (before, after) = (&rest[..at], &rest[at + 2..]);
        if let Some(before) = before.strip_suffix('$') {
            expanded.push_str(before);
            expanded.push_str("${");
            rest = after;
            continue;
        }
        expanded.push_str(before);
        let Some(end) = after.find('}') else {
            problems.push(
                "`${` is never closed; write `${NAME}`, or `$${` for the characters themselves"
                    .to_owned(),
            );
            rest = "";
            break;
        };
        let (inside, tail) = (&after[..end], &after[end + 1..]);
        let (name, default) = match inside.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inside, None),
        };
        let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if !is_name {
            problems.push(
                "a variable is written `${NAME}` or `${NAME:-default}`, its name of letters, digits and `_`; a literal `${` is written `$${`"
                    .to_owned(),
            );
        } else {
            match (variable(name).filter(|value| default.is_none() || !value.is_empty()), default) {
                (Some(value), _) => {
                    expanded.push_str(&value);
                    from_outside = true;
                }
                (None, Some(default)) => {
                    expanded.push_str(default);
                    from_outside = true;
                }
                (None, None) => problems.push(format!(
                    "the environment variable `{name}` is not set; export it, or give a default with `${{{name}:-…}}`"
                )),
            }
        }
        rest = tail;
    }
    expanded.push_str(rest);
    if problems.is_empty() {
        Ok(Some(Expanded {
            text: expanded,
            from_outside,
        }))
    } else {
        Err(problems)
    }
}

fn read_file(node: &mut Node, outside: &Outside<'_>) -> Result<(), String> {
    let Some(path) = node.text().and_then(|text| text.strip_prefix("file:")) else {
        return Ok(());
    };
    let path = path.strip_prefix("//").unwrap_or(path).to_owned();
    if path.is_empty() {
        return Err("`file:` needs a path, such as `file:/run/secrets/github`".to_owned());
    }
    let content = (outside.file)(Path::new(&path))
        .map_err(|error| format!("cannot read the secret from `{path}`: {error}; check the path and that this user may read it"))?;
    let secret = content.strip_suffix('\n').map_or(content.as_str(), |line| {
        line.strip_suffix('\r').unwrap_or(line)
    });
    if secret.is_empty() {
        return Err(format!("`{path}` is empty; write the secret into it"));
    }
    node.value = Value::Text(secret.to_owned());
    node.origin = Origin::Resolved;
    Ok(())
}

fn is_secret(schemas: &[&Json]) -> bool {
    schemas
        .iter()
        .any(|schema| schema.get("format").and_then(Json::as_str) == Some(Secret::FORMAT))
}

fn allows_text(schemas: &[&Json]) -> bool {
    let types: Vec<&Json> = schemas
        .iter()
        .filter_map(|schema| schema.get("type"))
        .collect();
    types.is_empty()
        || types.iter().any(|types| match types {
            Json::String(one) => one == "string",
            Json::Array(several) => several.iter().any(|one| one == "string"),
            _ => false,
        })
}

fn find_mut<'a>(root: &'a mut Node, pointer: &Pointer) -> Option<&'a mut Node> {
    pointer
        .0
        .iter()
        .try_fold(root, |node, step| match &mut node.value {
            Value::Map(entries) => entries
                .iter_mut()
                .find(|(key, _)| key.name == *step)
                .map(|(_, node)| node),
            Value::List(items) => step.parse().ok().and_then(|at: usize| items.get_mut(at)),
            _ => None,
        })
}
