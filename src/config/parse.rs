//! YAML text to a tree with places.
//!
//! YAML 1.2, core schema, one document. Refused with their place: duplicate keys, merge keys, tags other than the core ones, keys
//! that are not scalars, nesting deeper than [`MAX_DEPTH`], and aliases that unfold to more than [`MAX_NODES`] values (a
//! "billion laughs" file ends there, before it needs memory).

use std::collections::HashMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span, Tag};

use super::tree::{Key, Node, Place, Value};

const MAX_DEPTH: usize = 64;
const MAX_NODES: usize = 100_000;
const MAX_BYTES: usize = 4 << 20;

/// Where and why the text is not a configuration.
pub(super) struct Refused {
    pub(super) place: Place,
    pub(super) message: String,
}

/// Parses `text`. Syntax errors end it at the first one; duplicate keys and the like are collected in `refused`.
pub(super) fn parse(text: &str, refused: &mut Vec<Refused>) -> Option<Node> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.len() > MAX_BYTES {
        let message = format!(
            "the file is larger than {} MiB, which no configuration needs",
            MAX_BYTES >> 20
        );
        refused.push(Refused {
            place: Place::default(),
            message,
        });
        return None;
    }
    let mut builder = Builder {
        refused,
        open: Vec::new(),
        anchors: HashMap::new(),
        nodes: 0,
        root: None,
    };
    for event in Parser::new_from_str(text) {
        let step = match event {
            Ok((event, span)) => builder.event(event, span),
            Err(error) => Err(syntax_error(text, *error.marker(), error.info())),
        };
        if let Err(fatal) = step {
            builder.refused.push(fatal);
            return None;
        }
    }
    match builder.root {
        None => {
            let message =
                "the file is empty; `headgate init` writes a commented configuration to start from"
                    .to_owned();
            refused.push(Refused {
                place: Place { line: 1, column: 1 },
                message,
            });
            None
        }
        root => root,
    }
}

fn syntax_error(text: &str, at: Marker, info: &str) -> Refused {
    let place = place(at);
    let line = text
        .lines()
        .nth(place.line.saturating_sub(1))
        .unwrap_or_default();
    let indent: String = line.chars().take_while(|c| c.is_whitespace()).collect();
    let message = if indent.contains('\t') {
        "this line is indented with a tab; YAML indents with spaces only".to_owned()
    } else if info.contains("flow") && line.contains("${") {
        format!("not valid YAML ({info}); inside brackets, `${{…}}` needs quotes: `\"${{NAME}}\"`")
    } else if line.contains("{{")
        || line.trim_end().ends_with('%')
        || line.contains(": %")
        || line.contains(": @")
    {
        format!(
            "not valid YAML ({info}); put quotes around the value, since it starts with a character that YAML gives a meaning"
        )
    } else {
        format!(
            "not valid YAML ({info}); check indentation, quotes and brackets here and on the line above"
        )
    };
    Refused { place, message }
}

fn place(marker: Marker) -> Place {
    Place {
        line: marker.line(),
        column: marker.col() + 1,
    }
}

/// A collection whose end has not been read.
struct Open {
    node: Node,
    anchor: usize,
    /// The key that waits for its value, in a map.
    key: Option<Key>,
    first_node: usize,
}

struct Builder<'a> {
    refused: &'a mut Vec<Refused>,
    open: Vec<Open>,
    /// Anchored values and how many nodes each holds.
    anchors: HashMap<usize, (Node, usize)>,
    nodes: usize,
    root: Option<Node>,
}

impl Builder<'_> {
    /// Takes one event; an error ends the parse.
    fn event(&mut self, event: Event<'_>, span: Span) -> Result<(), Refused> {
        let at = place(span.start);
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.count(1, at)?;
                let plain = style == ScalarStyle::Plain;
                let value = match tag_of(tag.as_deref(), at)? {
                    Some("str") => Value::Text(text.into_owned()),
                    _ if self.expects_key() => Value::Text(text.into_owned()),
                    _ if plain => plain_scalar(&text),
                    _ => Value::Text(text.into_owned()),
                };
                let mut node = Node::new(at, value);
                node.plain = plain;
                self.close(node, anchor, 1)
            }
            Event::SequenceStart(anchor, tag) => {
                self.start(Value::List(Vec::new()), anchor, tag.as_deref(), at)
            }
            Event::MappingStart(anchor, tag) => {
                self.start(Value::Map(Vec::new()), anchor, tag.as_deref(), at)
            }
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(open) => {
                    let size = self.nodes - open.first_node;
                    self.close(open.node, open.anchor, size)
                }
                None => Ok(()),
            },
            Event::Alias(anchor) => {
                let Some((node, size)) = self.anchors.get(&anchor) else {
                    return fail(
                        at,
                        "this alias stands inside the value that it refers to; a configuration cannot contain itself",
                    );
                };
                let (size, total) = (*size, self.nodes + *size);
                if total > MAX_NODES {
                    return fail(
                        at,
                        &format!(
                            "aliases unfold to more than {MAX_NODES} values here; write the values out"
                        ),
                    );
                }
                let node = node.clone();
                self.nodes = total;
                self.close(node, 0, size)
            }
            Event::DocumentStart(_) if self.root.is_some() => fail(
                at,
                "a second document starts here (`---`); keep one configuration per file",
            ),
            _ => Ok(()),
        }
    }

    fn count(&mut self, nodes: usize, at: Place) -> Result<(), Refused> {
        self.nodes += nodes;
        match self.nodes > MAX_NODES {
            true => fail(
                at,
                &format!("more than {MAX_NODES} values; split the work over several gateways"),
            ),
            false => Ok(()),
        }
    }

    fn start(
        &mut self,
        value: Value,
        anchor: usize,
        tag: Option<&Tag>,
        at: Place,
    ) -> Result<(), Refused> {
        tag_of(tag, at)?;
        if self.expects_key() {
            return fail(
                at,
                "a key must be text, not a list or a map; put quotes around it if it starts with `[`, `{` or `?`",
            );
        }
        if self.open.len() >= MAX_DEPTH {
            return fail(at, &format!("nested deeper than {MAX_DEPTH} levels"));
        }
        let first_node = self.nodes;
        self.count(1, at)?;
        self.open.push(Open {
            node: Node::new(at, value),
            anchor,
            key: None,
            first_node,
        });
        Ok(())
    }

    fn expects_key(&self) -> bool {
        matches!(
            self.open.last(),
            Some(Open {
                node: Node {
                    value: Value::Map(_),
                    ..
                },
                key: None,
                ..
            })
        )
    }

    /// A value is complete: puts it where it belongs.
    fn close(&mut self, node: Node, anchor: usize, size: usize) -> Result<(), Refused> {
        if anchor != 0 {
            self.anchors.insert(anchor, (node.clone(), size));
        }
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        match (&mut open.node.value, open.key.take()) {
            (Value::List(items), _) => items.push(node),
            (Value::Map(entries), Some(key)) => {
                match entries.iter().find(|(other, _)| other.name == key.name) {
                    Some((other, _)) => self.refused.push(Refused {
                        place: key.place,
                        message: format!(
                            "`{}` is given twice; the first is on line {}; keep one",
                            key.name, other.place.line
                        ),
                    }),
                    None if key.name == "<<" => self.refused.push(Refused {
                        place: key.place,
                        message: "merge keys (`<<`) are not part of YAML 1.2; write the keys out"
                            .to_owned(),
                    }),
                    None => entries.push((key, node)),
                }
            }
            (Value::Map(_), None) => match node.value {
                Value::Text(name) => {
                    open.key = Some(Key {
                        name,
                        place: node.place,
                    })
                }
                _ => return fail(node.place, "a key must be text"),
            },
            _ => {}
        }
        Ok(())
    }
}

fn fail<T>(place: Place, message: &str) -> Result<T, Refused> {
    Err(Refused {
        place,
        message: message.to_owned(),
    })
}

fn tag_of(tag: Option<&Tag>, at: Place) -> Result<Option<&str>, Refused> {
    match tag {
        None => Ok(None),
        Some(tag)
            if tag.is_yaml_core_schema()
                && matches!(
                    &*tag.suffix,
                    "str" | "int" | "float" | "bool" | "null" | "seq" | "map"
                ) =>
        {
            Ok(Some(&tag.suffix))
        }
        Some(tag) => fail(
            at,
            &format!(
                "the tag `{}{}` means nothing here; leave it out",
                tag.handle, tag.suffix
            ),
        ),
    }
}

/// What an unquoted scalar means (YAML 1.2 core schema).
pub(super) fn plain_scalar(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        _ => {}
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if !unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return Value::Text(text.to_owned());
    }
    let integer = match text.get(..2) {
        Some("0x") => u64::from_str_radix(&text[2..], 16)
            .ok()
            .map(serde_json::Number::from),
        Some("0o") => u64::from_str_radix(&text[2..], 8)
            .ok()
            .map(serde_json::Number::from),
        _ => text
            .parse::<i64>()
            .map(serde_json::Number::from)
            .or_else(|_| text.parse::<u64>().map(serde_json::Number::from))
            .ok(),
    };
    let is_float = || {
        unsigned
            .chars()
            .all(|c| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '+' | '-'))
            && unsigned.contains(|c: char| c.is_ascii_digit())
    };
    let number = integer.or_else(|| {
        if is_float() {
            text.parse::<f64>()
                .ok()
                .and_then(serde_json::Number::from_f64)
        } else {
            None
        }
    });
    number.map_or_else(|| Value::Text(text.to_owned()), Value::Number)
}
