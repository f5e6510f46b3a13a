//! From a violation of the schema to a sentence: what is wrong, and what to write instead.
//!
//! Invariant: a value is shown only if it was written in the file itself and is not a secret.

use headgate_sdk::config::Secret;
use jsonschema::error::{TypeKind, ValidationErrorKind as Kind};
use jsonschema::{JsonType, ValidationError};
use serde_json::Value as Json;

use super::check::format_message;
use super::load::Judge;
use super::schema::follow;
use super::suggest::{nearest, one_of};
use super::tree::{Node, Origin, Pointer, Value};

/// Reports `error`, and whatever it is made of, to the judge.
pub(super) fn explain(judge: &mut Judge<'_>, schema: &Json, error: &ValidationError<'_>) {
    let at = Pointer::from_json(error.instance_path().as_str());
    let root = judge.root();
    let found = root.find(&at);
    if found.node.origin == Origin::Missing {
        return;
    }
    let rule = Rule::of(schema, error.schema_path().as_str());
    let shown = show(found.node, rule.is_secret());
    match error.kind() {
        Kind::AdditionalProperties { unexpected } | Kind::UnevaluatedProperties { unexpected } => {
            for key in unexpected {
                judge.key(&at.join(key), rule.unknown_key(key));
            }
        }
        Kind::Required { property } => {
            let key = property.as_str().unwrap_or_default();
            if let Some(message) = rule.missing_key(key, found.node) {
                judge.key(&at, message);
            }
        }
        Kind::PropertyNames { error } => {
            let key = error.instance().as_str().unwrap_or_default().to_owned();
            let rule = Rule::of(schema, error.schema_path().as_str());
            let message = rule
                .error_message()
                .unwrap_or("this name is not allowed here");
            judge.key(&at.join(key), message);
        }
        Kind::Type { kind } => judge.value(&at, rule.wrong_type(kind, found.node, shown)),
        Kind::Enum { options } => {
            let options: Vec<&str> = options
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Json::as_str)
                .collect();
            judge.value(&at, not_one_of(&options, found.node, shown));
        }
        Kind::Constant { expected_value } => {
            judge.value(&at, format!("{} is expected here", expected_value));
        }
        Kind::Format { format } => {
            let text = found.node.text().unwrap_or_default();
            let message = match shown {
                Some(_) => format_message(format, text),
                None if format == Secret::FORMAT => format_message(format, text),
                None => None,
            };
            judge.value(
                &at,
                message.unwrap_or_else(|| format!("the value is not a valid {format}")),
            );
        }
        Kind::Pattern { pattern } => {
            let what = shown.map_or_else(|| "the value".to_owned(), |shown| format!("`{shown}`"));
            judge.value(
                &at,
                match rule.error_message() {
                    Some(message) => format!("{what} does not fit: {message}"),
                    None => format!("{what} does not match `{pattern}`"),
                },
            );
        }
        Kind::Minimum { limit } => judge.value(&at, format!("must be at least {limit}")),
        Kind::Maximum { limit } => judge.value(&at, format!("must be at most {limit}")),
        Kind::ExclusiveMinimum { limit } => judge.value(&at, format!("must be more than {limit}")),
        Kind::ExclusiveMaximum { limit } => judge.value(&at, format!("must be less than {limit}")),
        Kind::MinLength { limit: 1 } => judge.value(&at, "must not be empty"),
        Kind::MinLength { limit } => {
            judge.value(&at, format!("must have at least {limit} characters"))
        }
        Kind::MaxLength { limit } => {
            judge.value(&at, format!("must have at most {limit} characters"))
        }
        Kind::MinItems { limit: 1 } => {
            judge.value(&at, "the list is empty; write at least one item")
        }
        Kind::MinItems { limit } => {
            judge.value(&at, format!("the list needs at least {limit} items"))
        }
        Kind::MaxItems { limit } => {
            judge.value(&at, format!("the list may have at most {limit} items"))
        }
        Kind::UniqueItems => judge.value(&at, "the list holds an item twice; keep one"),
        Kind::MinProperties { limit: 1 } if rule.known_keys().is_empty() => {
            judge.value(&at, "is empty; write at least one entry");
        }
        Kind::MinProperties { .. } | Kind::MaxProperties { .. } => {
            judge.value(&at, rule.one_key(found.node))
        }
        Kind::OneOfNotValid { context } | Kind::AnyOf { context } => {
            one_branch(judge, schema, &at, &rule, context);
        }
        _ => judge.value(&at, error.masked_with("the value").to_string()),
    }
}

/// Of several accepted forms, tells the mistakes in the one that was probably meant.
fn one_branch(
    judge: &mut Judge<'_>,
    schema: &Json,
    at: &Pointer,
    rule: &Rule<'_>,
    context: &[Vec<ValidationError<'static>>],
) {
    // A form was meant when the value has its type and its tag, so that all its mistakes lie deeper.
    let misfit = |error: &ValidationError<'_>| {
        let depth =
            Pointer::from_json(error.instance_path().as_str()).0.len() - at.0.len().min(1_000);
        match error.kind() {
            Kind::Type { .. } | Kind::Enum { .. } => depth == 0,
            Kind::Constant { .. } => depth <= 1,
            _ => false,
        }
    };
    let fitting: Vec<_> = context
        .iter()
        .filter(|errors| !errors.iter().any(misfit))
        .collect();
    match fitting.iter().min_by_key(|errors| errors.len()) {
        Some(errors) => errors
            .iter()
            .for_each(|error| explain(judge, schema, error)),
        None => no_branch(judge, schema, at, rule, context),
    }
}

/// None of the accepted forms was meant, as far as one can tell: says what tells them apart.
fn no_branch(
    judge: &mut Judge<'_>,
    schema: &Json,
    at: &Pointer,
    rule: &Rule<'_>,
    context: &[Vec<ValidationError<'static>>],
) {
    let tags: Vec<&ValidationError<'_>> = context
        .iter()
        .flatten()
        .filter(|error| matches!(error.kind(), Kind::Constant { .. }))
        .collect();
    let names = tags.iter().filter_map(|error| match error.kind() {
        Kind::Constant { expected_value } => expected_value.as_str(),
        _ => None,
    });
    if let Some(tag) = tags.first() {
        let at = Pointer::from_json(tag.instance_path().as_str());
        let node = judge.root().find(&at).node;
        judge.value(
            &at,
            not_one_of(&names.collect::<Vec<_>>(), node, show(node, false)),
        );
        return;
    }
    let wrong_type = |errors: &Vec<ValidationError<'static>>| {
        errors.iter().position(|error| {
            matches!(error.kind(), Kind::Type { .. })
                && Pointer::from_json(error.instance_path().as_str()) == *at
        })
    };
    match context
        .iter()
        .find_map(|errors| wrong_type(errors).map(|n| &errors[n]))
    {
        Some(error) if context.iter().all(|errors| wrong_type(errors).is_some()) => {
            explain(judge, schema, error)
        }
        _ => {
            let message = rule.error_message();
            judge.value(
                at,
                message.unwrap_or(
                    "the value has none of the accepted forms; see the reference for this key",
                ),
            );
        }
    }
}

fn not_one_of(options: &[&str], node: &Node, shown: Option<String>) -> String {
    let known = one_of(options.iter().copied());
    match shown {
        Some(shown) => match nearest(&shown, options.iter().copied()) {
            Some(near) => format!("unknown value `{shown}`; did you mean `{near}`?"),
            None if options.is_empty() => {
                format!("unknown value `{shown}`; nothing can be chosen here in this build")
            }
            None => format!("unknown value `{shown}`; write {known}"),
        },
        None if matches!(node.value, Value::Null) => format!("has no value; write {known}"),
        None => format!("unknown value; write {known}"),
    }
}

/// A scalar as it may be shown, if it may.
fn show(node: &Node, secret: bool) -> Option<String> {
    if secret || node.origin != Origin::Literal {
        return None;
    }
    let text = match &node.value {
        Value::Text(text) => text.clone(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => number.to_string(),
        Value::Null | Value::List(_) | Value::Map(_) => return None,
    };
    Some(match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    })
}

/// The schema object whose keyword was violated.
struct Rule<'s>(Option<&'s Json>);

impl<'s> Rule<'s> {
    /// Finds it by the path of the keyword.
    fn of(schema: &'s Json, keyword_path: &str) -> Self {
        let mut object = schema;
        let steps = Pointer::from_json(keyword_path).0;
        for step in &steps[..steps.len().saturating_sub(1)] {
            if let Some(target) = object
                .get("$ref")
                .and_then(Json::as_str)
                .and_then(|reference| follow(schema, reference))
                && step != "$ref"
                && object.get(step).is_none()
            {
                object = target;
            }
            let next = match (object, step.as_str()) {
                (_, "$ref") => object
                    .get("$ref")
                    .and_then(Json::as_str)
                    .and_then(|reference| follow(schema, reference)),
                (Json::Array(items), _) => step.parse().ok().and_then(|at: usize| items.get(at)),
                _ => object.get(step),
            };
            match next {
                Some(next) => object = next,
                None => return Self(None),
            }
        }
        Self(Some(object))
    }

    fn get(&self, key: &str) -> Option<&'s Json> {
        self.0?.get(key)
    }

    fn is_secret(&self) -> bool {
        self.get("format").and_then(Json::as_str) == Some(Secret::FORMAT)
    }

    fn error_message(&self) -> Option<&'s str> {
        self.get("errorMessage")?.as_str()
    }

    fn known_keys(&self) -> Vec<&'s str> {
        self.get("properties")
            .and_then(Json::as_object)
            .map(|keys| keys.keys().map(String::as_str).collect())
            .unwrap_or_default()
    }

    fn unknown_key(&self, key: &str) -> String {
        let known = self.known_keys();
        match nearest(key, known.iter().copied()) {
            Some(near) => format!("unknown key; did you mean `{near}`?"),
            None if known.is_empty() => {
                "unknown key; nothing is configured below this one; remove it".to_owned()
            }
            None => format!(
                "unknown key; the keys here are {}",
                one_of(known).replace(" or ", " and ")
            ),
        }
    }

    /// Nothing to say if the key is there, misspelt: that is reported in its own place.
    fn missing_key(&self, key: &str, node: &Node) -> Option<String> {
        let property = self.get("properties").and_then(|all| all.get(key));
        let near = node
            .entries()
            .iter()
            .map(|(written, _)| written.name.as_str())
            .filter(|written| !self.known_keys().contains(written));
        if nearest(key, near).is_some() {
            return None;
        }
        let choice = property
            .and_then(|property| property.get("enum"))
            .and_then(Json::as_array);
        let purpose = || property?.get("description")?.as_str();
        Some(match (choice, purpose()) {
            (Some(choice), _) => {
                format!(
                    "the key `{key}` is missing; add it with {}",
                    one_of(choice.iter().filter_map(Json::as_str))
                )
            }
            (None, Some(purpose)) => {
                format!(
                    "the key `{key}` is missing; add it ({})",
                    first_sentence(purpose).trim_end_matches('.')
                )
            }
            (None, None) => format!("the key `{key}` is missing; add it"),
        })
    }

    fn one_key(&self, node: &Node) -> String {
        let known = one_of(self.known_keys());
        match node.entries() {
            [] => format!("is empty; write one of {known}"),
            [(first, _), ..] => format!(
                "holds several keys, but needs exactly one of {known}; start the next with a `-` of its own, or indent what belongs to `{}`",
                first.name
            ),
        }
    }

    fn wrong_type(&self, kind: &TypeKind, node: &Node, shown: Option<String>) -> String {
        let expected: Vec<JsonType> = match kind {
            TypeKind::Single(one) => vec![*one],
            TypeKind::Multiple(several) => several.iter().collect(),
        };
        let wants = |one: JsonType| expected.contains(&one);
        let wanted = self.wanted(&expected);
        let shown = shown.unwrap_or_default();
        if matches!(node.value, Value::Null) {
            return format!("has no value; write {wanted}, or remove the key");
        }
        let is_scalar = matches!(
            node.value,
            Value::Text(_) | Value::Number(_) | Value::Bool(_)
        );
        if wants(JsonType::Array) && is_scalar {
            return match shown.as_str() {
                _ if self.is_secret_list() => {
                    "a list is expected; write it in brackets, as in `[\"${NAME}\"]`".to_owned()
                }
                "" => "a list is expected; write it in brackets".to_owned(),
                shown => format!("a list is expected; write `[{shown}]`"),
            };
        }
        if node.origin != Origin::Literal {
            return format!(
                "{wanted} is expected, but what was filled in here is {}",
                found_name(node)
            );
        }
        if wants(JsonType::String) && matches!(node.value, Value::Number(_)) {
            let format = self
                .get("format")
                .and_then(Json::as_str)
                .unwrap_or_default();
            if let Some(message) = format_message(format, &shown) {
                return message;
            }
        }
        match &node.value {
            Value::Number(_) | Value::Bool(_) if wants(JsonType::String) => {
                format!(
                    "text is expected, found {}; put it in quotes",
                    found_name(node)
                )
            }
            Value::Text(text)
                if wants(JsonType::Boolean)
                    && matches!(&*text.to_lowercase(), "yes" | "no" | "on" | "off") =>
            {
                format!("write `true` or `false` instead of `{text}`")
            }
            Value::Text(text)
                if (wants(JsonType::Integer) || wants(JsonType::Number)) && !node.plain =>
            {
                format!("a number is expected; write it without quotes if `{text}` is one")
            }
            _ => format!("{wanted} is expected, found {}", found_name(node)),
        }
    }

    /// What is expected, as precisely as the schema says it.
    fn wanted(&self, types: &[JsonType]) -> String {
        match self.get("format").and_then(Json::as_str) {
            Some("human-duration") => "a duration such as `30s`".to_owned(),
            Some("byte-size") => "a size such as `64MB`".to_owned(),
            Some("rate") => "a rate such as `100/minute`".to_owned(),
            Some("secret") => "a secret such as `${NAME}`".to_owned(),
            _ => types
                .iter()
                .map(|one| type_name(*one))
                .collect::<Vec<_>>()
                .join(" or "),
        }
    }

    fn is_secret_list(&self) -> bool {
        self.get("items")
            .is_some_and(|items| Rule(Some(items)).is_secret())
    }
}

/// The first sentence of a description, without line breaks.
pub(super) fn first_sentence(text: &str) -> String {
    let paragraph = text
        .split("\n\n")
        .next()
        .unwrap_or_default()
        .replace('\n', " ");
    match paragraph.find(". ") {
        Some(end) => paragraph[..=end].to_owned(),
        None => paragraph,
    }
}

fn type_name(one: JsonType) -> &'static str {
    match one {
        JsonType::Array => "a list",
        JsonType::Boolean => "`true` or `false`",
        JsonType::Integer => "a whole number",
        JsonType::Null => "nothing",
        JsonType::Number => "a number",
        JsonType::Object => "a map of keys",
        JsonType::String => "text",
    }
}

fn found_name(node: &Node) -> String {
    match &node.value {
        Value::Null => "nothing".to_owned(),
        Value::Bool(value) if node.origin == Origin::Literal => format!("`{value}`"),
        Value::Number(number) if node.origin == Origin::Literal => format!("the number {number}"),
        Value::Bool(_) => "a boolean".to_owned(),
        Value::Number(_) => "a number".to_owned(),
        Value::Text(_) => "text".to_owned(),
        Value::List(_) => "a list".to_owned(),
        Value::Map(_) => "a map of keys".to_owned(),
    }
}
