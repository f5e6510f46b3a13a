//! The reference page, written from the schema, so that the doc comments on the types are all there is to keep up to date.

use std::fmt::Write as _;

use serde_json::{Map, Value as Json};

use super::schema::follow;

/// The page as Markdown.
pub fn reference_page(schema: &Json) -> String {
    let mut page = Page {
        schema,
        text: String::new(),
    };
    page.text.push_str(INTRODUCTION);
    page.section(2, "Top level", schema);
    let named =
        |section: &str| schema.pointer(&format!("/properties/{section}/additionalProperties"));
    for (title, what, section) in [("Sources", "source", "sources"), ("Sinks", "sink", "sinks")] {
        let _ = writeln!(page.text, "\n## {title}");
        let kinds = named(section)
            .and_then(|one| one.pointer("/properties/type/enum"))
            .and_then(Json::as_array);
        for kind in kinds.into_iter().flatten().filter_map(Json::as_str) {
            if let Some(keys) = schema.pointer(&format!("/$defs/{what}.{kind}")) {
                page.section(3, &format!("`type: {kind}`"), keys);
            }
        }
    }
    page.text.push_str("\n## Steps of a pipeline\n");
    let step = named("pipelines")
        .and_then(|steps| steps.get("items"))
        .map(|step| page.target(step));
    for (name, step) in step
        .and_then(|step| step.get("properties"))
        .and_then(Json::as_object)
        .into_iter()
        .flatten()
    {
        page.section(3, &format!("`{name}`"), step);
    }
    page.text
}

/// The keys of one connector as Markdown, if there is such a connector.
pub fn connector_page(schema: &Json, connector: &str) -> Option<String> {
    let keys = schema.pointer(&format!("/$defs/source.{connector}"))?;
    let mut page = Page {
        schema,
        text: String::new(),
    };
    page.section(1, &format!("`type: {connector}`"), keys);
    Some(page.text)
}

const INTRODUCTION: &str = "\
<!-- Generated from the doc comments of the configuration's types by `headgate schema --page`; do not edit. -->

# The configuration, key by key

One YAML file, by default `./headgate.yaml`. A key that is not listed here is refused. Wherever text is expected, `${NAME}` is
replaced by the environment variable `NAME`, and `${NAME:-default}` by `default` where it is unset or empty; a literal `${` is
written `$${`. Where a secret is expected, `file:/path` reads it from a file. Secrets are never printed.

| form | written as |
|---|---|
| duration | a number and a unit: `250ms`, `30s`, `5m`, `24h`, `7d`, or a sum such as `1h30m` |
| size | `64MB` (1000), `64MiB` (1024), or a number of bytes |
| rate | `20/second`, `100/minute`, `5000/hour`, `100000/day` |
| secret | text, best as `${NAME}` or `file:/path` |

";

struct Page<'s> {
    schema: &'s Json,
    text: String,
}

impl<'s> Page<'s> {
    fn section(&mut self, level: usize, title: &str, object: &'s Json) {
        let object = self.target(object);
        let _ = writeln!(self.text, "\n{} {title}\n", "#".repeat(level));
        if let Some(description) = object.get("description").and_then(Json::as_str) {
            let _ = writeln!(self.text, "{description}\n");
        }
        let Some(properties) = object
            .get("properties")
            .and_then(Json::as_object)
            .filter(|all| !all.is_empty())
        else {
            self.text.push_str("No keys of its own.\n");
            return;
        };
        self.text
            .push_str("| key | form | default | |\n|---|---|---|---|\n");
        self.rows("", object, properties, 0);
    }

    fn rows(
        &mut self,
        prefix: &str,
        object: &'s Json,
        properties: &'s Map<String, Json>,
        depth: usize,
    ) {
        for (key, property) in properties {
            let target = self.target(property);
            let path = format!("{prefix}{key}");
            let required = object
                .get("required")
                .and_then(Json::as_array)
                .is_some_and(|required| required.iter().any(|one| one == key));
            let default = match (
                required,
                property.get("default").or_else(|| target.get("default")),
            ) {
                (true, _) => "required".to_owned(),
                (false, Some(Json::Object(_)) | None) => String::new(),
                (false, Some(default)) => format!("`{}`", plain(default)),
            };
            let mut description = [property, target]
                .iter()
                .find_map(|schema| schema.get("description")?.as_str())
                .unwrap_or_default()
                .to_owned();
            for (name, meaning) in target
                .get("x-enumDescriptions")
                .and_then(Json::as_object)
                .into_iter()
                .flatten()
            {
                let _ = write!(
                    description,
                    " `{name}`: {}",
                    meaning.as_str().unwrap_or_default()
                );
            }
            let description = description.replace('\n', " ").replace('|', "\\|");
            let _ = writeln!(
                self.text,
                "| `{path}` | {} | {default} | {description} |",
                self.form(property)
            );
            self.below(&path, target, depth);
        }
    }

    /// The keys of a map, of a list's items, and of each form that a value may take.
    fn below(&mut self, path: &str, target: &'s Json, depth: usize) {
        let is_section = path == "sources"
            || path == "sinks"
            || path == "pipelines"
            || path == "sink"
            || path == "pipeline";
        if depth > 6 || is_section {
            return;
        }
        if let Some(inner) = target.get("properties").and_then(Json::as_object) {
            self.rows(&format!("{path}."), target, inner, depth + 1);
        }
        if let Some(items) = target.get("items") {
            self.below(&format!("{path}[]"), self.target(items), depth + 1);
        }
        if let Some(values) = target
            .get("additionalProperties")
            .filter(|values| values.is_object())
        {
            self.below(&format!("{path}.NAME"), self.target(values), depth + 1);
        }
        for branch in ["oneOf", "anyOf"]
            .iter()
            .filter_map(|form| target.get(form)?.as_array())
            .flatten()
        {
            self.below(path, self.target(branch), depth + 1);
        }
    }

    fn form(&self, schema: &'s Json) -> String {
        let schema = self.target(schema);
        if let Some(names) = schema.get("enum").and_then(Json::as_array) {
            return names
                .iter()
                .map(|name| format!("`{}`", plain(name)))
                .collect::<Vec<_>>()
                .join(", ");
        }
        if let Some(only) = schema.get("const") {
            return format!("`{}`", plain(only));
        }
        match schema.get("format").and_then(Json::as_str) {
            Some("human-duration") => return "duration".to_owned(),
            Some("byte-size") => return "size".to_owned(),
            Some("socket-address") => return "address:port".to_owned(),
            Some("http-url") => return "URL".to_owned(),
            Some(format @ ("rate" | "secret")) => return format.to_owned(),
            _ => {}
        }
        let one = |name: &str| match name {
            "array" => {
                let item = schema
                    .get("items")
                    .map_or_else(|| "values".to_owned(), |items| self.form(items));
                format!("list of {item}")
            }
            "object" => match schema
                .get("additionalProperties")
                .filter(|values| values.is_object())
            {
                Some(values) => format!("names to {}", self.form(values)),
                None => "keys".to_owned(),
            },
            "boolean" => "`true`, `false`".to_owned(),
            "integer" => "whole number".to_owned(),
            "string" => "text".to_owned(),
            other => other.to_owned(),
        };
        match schema.get("type") {
            Some(Json::String(name)) => one(name),
            Some(Json::Array(names)) => names
                .iter()
                .filter_map(Json::as_str)
                .map(one)
                .collect::<Vec<_>>()
                .join(" or "),
            _ => {
                let forms = ["oneOf", "anyOf"]
                    .iter()
                    .filter_map(|form| schema.get(form)?.as_array())
                    .flatten();
                let mut forms: Vec<String> = forms.map(|form| self.form(form)).collect();
                forms.dedup();
                forms.join(" or ")
            }
        }
    }

    fn target(&self, schema: &'s Json) -> &'s Json {
        schema
            .get("$ref")
            .and_then(Json::as_str)
            .and_then(|reference| follow(self.schema, reference))
            .unwrap_or(schema)
    }
}

fn plain(value: &Json) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}
