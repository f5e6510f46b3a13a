//! A connector without its types, so that connectors of all kinds fit in one list.

use clap::{ArgMatches, Command};
use futures::future::BoxFuture;
use headgate_sdk::command::{CommandContext, CommandOutcome};
use headgate_sdk::{
    BuildError, Connector, Example, ExampleContext, Problem, Source, SourceContext, SourceError,
    SourceInfo,
};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::Value;

/// What the gateway needs of a [`Connector`].
#[derive(Clone, Copy)]
pub struct Registration {
    /// The `type:` of its sources.
    pub name: &'static str,
    /// One sentence.
    pub summary: &'static str,
    /// Its own keys, as an object schema.
    pub schema: fn(&mut SchemaGenerator) -> Schema,
    /// Reads the keys and builds a source; no I/O.
    pub build: Build,
    /// The HTTP paths that a source of these keys mounts; none when the keys are wrong.
    pub http_paths: fn(&Value, &SourceInfo) -> Vec<String>,
    /// What is probably not meant in these keys; nothing when they are wrong.
    pub warnings: fn(&Value, &SourceInfo) -> Vec<Problem>,
    /// How to try a source of these keys out; none when the keys are wrong.
    pub examples: fn(&Value, &ExampleContext<'_>) -> Vec<Example>,
    /// Its subcommands.
    pub command: fn() -> Option<Command>,
    /// Runs one of them.
    pub run_command:
        for<'a> fn(&'a ArgMatches, CommandContext<'a>) -> BoxFuture<'a, CommandOutcome>,
}

/// Reads a source's own keys and builds it; no I/O.
pub type Build = fn(Value, &SourceInfo) -> Result<Box<dyn AnySource>, BuildError>;

/// Runs one of a connector's subcommands.
pub type RunCommand =
    for<'a> fn(&'a ArgMatches, CommandContext<'a>) -> BoxFuture<'a, CommandOutcome>;

impl Registration {
    /// Registers `C`.
    pub const fn of<C: Connector>() -> Self {
        Self {
            name: C::NAME,
            summary: C::SUMMARY,
            schema: <C::Config as JsonSchema>::json_schema,
            build: build::<C>,
            http_paths: http_paths::<C>,
            warnings: warnings::<C>,
            examples: examples::<C>,
            command: C::command,
            run_command: C::run_command,
        }
    }
}

impl std::fmt::Debug for Registration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Registration").field(&self.name).finish()
    }
}

/// A [`Source`] of any type.
pub trait AnySource: Send {
    /// Runs it; see [`Source::run`].
    fn run(self: Box<Self>, cx: SourceContext) -> BoxFuture<'static, Result<(), SourceError>>;
}

impl<S: Source> AnySource for S {
    fn run(self: Box<Self>, cx: SourceContext) -> BoxFuture<'static, Result<(), SourceError>> {
        Box::pin(Source::run(*self, cx))
    }
}

fn build<C: Connector>(keys: Value, info: &SourceInfo) -> Result<Box<dyn AnySource>, BuildError> {
    let config = read::<C>(keys)?;
    Ok(Box::new(C::build(config, info)?))
}

fn http_paths<C: Connector>(keys: &Value, info: &SourceInfo) -> Vec<String> {
    read::<C>(keys.clone())
        .map(|config| C::http_paths(&config, info))
        .unwrap_or_default()
}

fn warnings<C: Connector>(keys: &Value, info: &SourceInfo) -> Vec<Problem> {
    read::<C>(keys.clone())
        .map(|config| C::warnings(&config, info))
        .unwrap_or_default()
}

fn examples<C: Connector>(keys: &Value, cx: &ExampleContext<'_>) -> Vec<Example> {
    read::<C>(keys.clone())
        .map(|config| C::examples(&config, cx))
        .unwrap_or_default()
}

fn read<C: Connector>(keys: Value) -> Result<C::Config, BuildError> {
    serde_path_to_error::deserialize(keys).map_err(|error| {
        let pointer = crate::config::json_pointer(error.path());
        BuildError::new(pointer, error.into_inner().to_string())
    })
}
