//! The configuration as a tree in which everything knows where it was written.

use std::fmt::Write as _;

/// A place in the file; both count from one, columns in characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) line: usize,
    pub(super) column: usize,
}

/// Where a scalar's text comes from, which decides whether an error may show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// Written in the file.
    Literal,
    /// Filled in from the environment or a file: never shown.
    Resolved,
    /// Could not be filled in; already reported, so further complaints about it are noise.
    Missing,
}

/// A value and its place.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) value: Value,
    pub(super) origin: Origin,
    /// Whether a scalar was written without quotes, so that its text may mean a number or a boolean.
    pub(super) plain: bool,
}

/// What a node holds.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Number(serde_json::Number),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

/// A key of a map and its place.
#[derive(Clone, Debug)]
pub(super) struct Key {
    pub(super) name: String,
    pub(super) place: Place,
}

impl Node {
    pub(super) fn new(place: Place, value: Value) -> Self {
        Self {
            place,
            value,
            origin: Origin::Literal,
            plain: false,
        }
    }

    /// The entries of a map; none for anything else.
    pub(super) fn entries(&self) -> &[(Key, Node)] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The items of a list; none for anything else.
    pub(super) fn items(&self) -> &[Node] {
        match &self.value {
            Value::List(items) => items,
            _ => &[],
        }
    }

    /// The value under a key of a map.
    pub(super) fn get(&self, name: &str) -> Option<&Node> {
        self.entries()
            .iter()
            .find(|(key, _)| key.name == name)
            .map(|(_, node)| node)
    }

    /// The text of a string.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The value without places, secrets included: for the schema check and serde, never for printing.
    pub(super) fn to_json(&self) -> serde_json::Value {
        match &self.value {
            Value::Null => serde_json::Value::Null,
            Value::Bool(value) => (*value).into(),
            Value::Number(number) => serde_json::Value::Number(number.clone()),
            Value::Text(text) => text.as_str().into(),
            Value::List(items) => items.iter().map(Node::to_json).collect(),
            Value::Map(entries) => serde_json::Value::Object(
                entries
                    .iter()
                    .map(|(key, node)| (key.name.clone(), node.to_json()))
                    .collect(),
            ),
        }
    }

    /// The part of `pointer` that exists.
    pub(super) fn longest(&self, pointer: &Pointer) -> Pointer {
        let exists = |length: &usize| {
            let mut node = Some(self);
            for step in &pointer.0[..*length] {
                node = node.and_then(|node| node.child(step));
            }
            node.is_some()
        };
        let length = (0..=pointer.0.len()).rev().find(exists).unwrap_or(0);
        Pointer(pointer.0[..length].to_vec())
    }

    /// The value under a key of a map, or at a position of a list.
    fn child(&self, step: &str) -> Option<&Node> {
        match &self.value {
            Value::Map(_) => self.get(step),
            Value::List(items) => step.parse().ok().and_then(|at: usize| items.get(at)),
            _ => None,
        }
    }

    /// Walks `pointer` as far as it goes.
    pub(super) fn find(&self, pointer: &Pointer) -> Found<'_> {
        let mut found = Found {
            node: self,
            key: None,
        };
        for step in &pointer.0 {
            let next = match &found.node.value {
                Value::Map(entries) => entries
                    .iter()
                    .find(|(key, _)| key.name == *step)
                    .map(|(key, node)| (Some(key), node)),
                Value::List(items) => step
                    .parse()
                    .ok()
                    .and_then(|at: usize| items.get(at))
                    .map(|node| (None, node)),
                _ => None,
            };
            match next {
                Some((key, node)) => (found.key, found.node) = (key, node),
                None => return found,
            }
        }
        found
    }
}

/// What a pointer led to: the node itself, or the nearest one above it.
#[derive(Clone, Copy)]
pub(super) struct Found<'a> {
    pub(super) node: &'a Node,
    /// The key that holds the node, unless it is a list item or the whole file.
    pub(super) key: Option<&'a Key>,
}

impl Found<'_> {
    /// Where to point when the value is at fault.
    pub(super) fn value_place(&self) -> Place {
        match self.node.value {
            // A block map starts at its first key: its own key is the better place.
            Value::Map(_) | Value::List(_) | Value::Null => self.key_place(),
            _ => self.node.place,
        }
    }

    /// Where to point when the key, or something missing under it, is at fault.
    pub(super) fn key_place(&self) -> Place {
        self.key.map_or(self.node.place, |key| key.place)
    }
}

/// Keys and list positions from the root down.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Pointer(pub(super) Vec<String>);

impl Pointer {
    pub(super) fn new<const N: usize>(steps: [&str; N]) -> Self {
        Self(steps.map(str::to_owned).to_vec())
    }

    /// Reads a JSON pointer (RFC 6901).
    pub(super) fn from_json(pointer: &str) -> Self {
        Self(
            pointer
                .split('/')
                .skip(1)
                .map(|step| step.replace("~1", "/").replace("~0", "~"))
                .collect(),
        )
    }

    pub(super) fn join(&self, step: impl ToString) -> Self {
        let mut steps = self.0.clone();
        steps.push(step.to_string());
        Self(steps)
    }

    pub(super) fn extend(&self, rest: &Pointer) -> Self {
        Self(self.0.iter().chain(&rest.0).cloned().collect())
    }

    pub(super) fn starts_with(&self, prefix: &Pointer) -> bool {
        self.0.starts_with(&prefix.0)
    }

    /// The way a person writes it: `sources.github.secrets[0]`.
    pub(super) fn key_path(&self, root: &Node) -> String {
        let mut path = String::new();
        let mut node = Some(root);
        for step in &self.0 {
            let is_list = matches!(node.map(|node| &node.value), Some(Value::List(_)));
            let plain = !step.is_empty()
                && step
                    .chars()
                    .all(|c| c.is_alphanumeric() || matches!(c, '_' | '-'));
            match (is_list, plain) {
                (true, _) => _ = write!(path, "[{step}]"),
                (false, true) if path.is_empty() => path.push_str(step),
                (false, true) => _ = write!(path, ".{step}"),
                (false, false) => _ = write!(path, "[{step:?}]"),
            }
            node = node.and_then(|node| node.child(step));
        }
        path
    }
}
