//! Compiling programs and running them.

use std::cell::RefCell;
use std::ops::ControlFlow;
use std::sync::{Arc, LazyLock};

use headgate_sdk::Envelope;
use headgate_sdk::envelope::FIXED;
use vrl::compiler::runtime::{Runtime, Terminate};
use vrl::compiler::state::{ExternalEnv, RuntimeState};
use vrl::compiler::{CompileConfig, TimeZone};
use vrl::diagnostic::{DiagnosticList, Formatter};
use vrl::path::{OwnedSegment, OwnedTargetPath, OwnedValuePath, PathPrefix};
use vrl::value::Value;
use vrl::value::kind::{Collection, Kind as ValueKind};

use super::config::{Kind, Numbers, Transformed};
use super::document::Document;
use super::functions::ALLOWED;
use super::target::EventTarget;
use super::{ProgramError, RunError};
use crate::pipeline::set::misspelt;

/// Expressions that a program may evaluate for one event: some 30 ms.
const MAX_STEPS: u32 = 500_000;

/// A compiled program. Clones share it.
#[derive(Debug, Clone)]
pub struct Program(Arc<Compiled>);

#[derive(Debug)]
struct Compiled {
    source: String,
    program: vrl::compiler::Program,
    /// Whether it looks at the data at all.
    reads_data: bool,
    /// Whether it can set the data as a whole, and so to an array of events.
    sets_root: bool,
    /// The attributes that it looks at; `None`: all.
    attributes: Option<Vec<String>>,
}

/// Programs are the same if their texts are.
impl PartialEq for Program {
    fn eq(&self, other: &Self) -> bool {
        self.0.source == other.0.source
    }
}

impl Program {
    pub(super) fn compile(source: &str, kind: Kind) -> Result<Self, ProgramError> {
        let mut config = CompileConfig::default();
        if kind == Kind::Transform {
            for name in FIXED {
                let path = OwnedTargetPath::metadata(OwnedValuePath::single_field(name));
                config.set_read_only_path(path, true);
            }
        } else {
            config.set_read_only();
        }
        let external = ExternalEnv::new_with_kind(ValueKind::json(), attribute_kinds());
        let compiled = vrl::compiler::compile_with_external(source, &ALLOWED, &external, config)
            .map_err(|diagnostics| ProgramError(told(source, diagnostics)))?;
        let program = compiled.program;
        if kind == Kind::Condition && !program.final_type_info().result.kind().is_boolean() {
            let kind = program.final_type_info().result.kind().to_string();
            return Err(ProgramError(format!(
                "a condition is true or false, but the last expression of this one is {kind}: compare it, as in `.active == true`"
            )));
        }
        let info = program.info();
        let paths = || info.target_queries.iter().chain(&info.target_assignments);
        let attributes: Option<Vec<String>> = paths()
            .filter(|path| path.prefix == PathPrefix::Metadata)
            .map(|path| match path.path.segments.first() {
                Some(OwnedSegment::Field(name)) => Some(name.to_string()),
                _ => None,
            })
            .collect();
        for name in attributes.iter().flatten() {
            if let Some(known) = misspelt(name) {
                return Err(ProgramError(format!(
                    "there is no attribute `%{name}`; did you mean `%{known}`?"
                )));
            }
        }
        Ok(Self(Arc::new(Compiled {
            source: source.to_owned(),
            reads_data: paths().any(|path| path.prefix == PathPrefix::Event),
            sets_root: info
                .target_assignments
                .iter()
                .any(|path| path.prefix == PathPrefix::Event && path.path.segments.is_empty()),
            attributes,
            program,
        })))
    }

    /// Whether the condition is true.
    pub(super) fn holds(&self, event: &mut Envelope) -> Result<bool, RunError> {
        Ok(self.read(event)? == Value::Boolean(true))
    }

    /// The value of a key, `None` if it is null.
    pub(super) fn key(&self, event: &mut Envelope) -> Result<Option<String>, RunError> {
        match self.read(event)? {
            Value::Null => Ok(None),
            value @ (Value::Object(_) | Value::Array(_)) => Err(RunError::new(
                "script_failed",
                format!(
                    "a key is a string, a number or a boolean, not {}",
                    value.kind_str()
                ),
            )),
            value => Ok(Some(value.to_string_lossy().into_owned())),
        }
    }

    /// The program's value; the event stays as it is.
    fn read(&self, event: &mut Envelope) -> Result<Value, RunError> {
        let document = self.document(event, Numbers::Text)?;
        let mut target = self.target(document, event);
        let result = self.resolve(&mut target);
        target.give_back(event);
        result
    }

    /// Changes `event`, all or nothing.
    pub(super) fn transform(
        &self,
        event: &mut Envelope,
        numbers: Numbers,
        step: &str,
        max_events: usize,
    ) -> Result<Transformed, RunError> {
        let document = self.document(event, numbers)?;
        let mut target = self.target(document, event);
        if let Err(error) = self.resolve(&mut target) {
            target.give_back(event);
            return Err(error);
        }
        if !target.data_changed && !target.attributes_changed() {
            target.give_back(event);
            return Ok(Transformed::Unchanged);
        }
        let mut changed = None;
        if target.attributes_changed() {
            let mut copy = event.clone();
            target.write_attributes(&mut copy)?;
            changed = Some(copy);
        }
        if !target.data_changed {
            target.give_back(event);
            if let Some(copy) = &mut changed {
                copy.data = std::mem::take(&mut event.data);
            }
        } else {
            match (target.into_data(), self.0.sets_root) {
                (Value::Array(children), true) => {
                    let parent = changed.as_ref().unwrap_or(event);
                    return fan_out(parent, children, step, max_events).map(Transformed::Several);
                }
                (data, _) => Document::write(data, changed.as_mut().unwrap_or(event))?,
            }
        }
        if let Some(changed) = changed {
            *event = changed;
        }
        Ok(Transformed::InPlace)
    }

    /// What `.` is; nothing for a program that does not look.
    fn document(&self, event: &mut Envelope, numbers: Numbers) -> Result<Document, RunError> {
        if self.0.reads_data {
            Document::of(event, numbers)
        } else {
            Ok(Document::default())
        }
    }

    fn target(&self, document: Document, event: &Envelope) -> EventTarget {
        match &self.0.attributes {
            Some(wanted) if wanted.is_empty() => EventTarget::without_attributes(document),
            wanted => EventTarget::new(document, event, |name| {
                wanted
                    .as_ref()
                    .is_none_or(|wanted| wanted.iter().any(|wanted| wanted == name))
            }),
        }
    }

    fn resolve(&self, target: &mut EventTarget) -> Result<Value, RunError> {
        thread_local! {
            static RUNTIME: RefCell<Runtime> = RefCell::new(Runtime::new(RuntimeState::default()));
        }
        // Named: the default would be the zone of the machine.
        static UTC: LazyLock<TimeZone> =
            LazyLock::new(|| TimeZone::parse("UTC").expect("the zone database has UTC"));
        let mut steps = 0;
        let mut budget = || {
            steps += 1;
            if steps > MAX_STEPS {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        };
        let result = RUNTIME.with_borrow_mut(|runtime| {
            runtime.clear();
            runtime.resolve_with_control(target, &self.0.program, &UTC, &mut budget)
        });
        result.map_err(|terminate| match terminate {
            Terminate::Interrupted => RunError::new(
                "script_too_long",
                format!("the program did not end within {MAX_STEPS} steps"),
            ),
            Terminate::Abort(error) => RunError::new("script_aborted", error.to_string()),
            Terminate::Error(error) => RunError::new("script_failed", error.to_string()),
        })
    }
}

/// What the compiler says, without what it says each time, and with a reason where a function of VRL is left out here.
fn told(source: &str, diagnostics: DiagnosticList) -> String {
    const UNDEFINED_FUNCTION: usize = 105;
    let left_out: Vec<String> = diagnostics
        .errors()
        .iter()
        .filter(|diagnostic| diagnostic.code == UNDEFINED_FUNCTION)
        .flat_map(|diagnostic| diagnostic.labels())
        .filter(|label| label.primary)
        .filter_map(|label| source.get(label.span.start()..label.span.end()))
        .map(|name| name.trim_end_matches('!'))
        .filter(|name| {
            let all = vrl::stdlib::all();
            all.iter().any(|function| function.identifier() == *name)
        })
        .map(|name| {
            format!("  = `{name}` is left out here: programs have no clock, chance, network, environment or files, so that a replay gives the same result")
        })
        .collect();
    let text = Formatter::new(source, diagnostics).to_string();
    let said_each_time = |line: &str| {
        line.contains("= see language documentation at")
            || line.contains("= try your code in the VRL REPL")
    };
    let misleading = |line: &str| !left_out.is_empty() && line.contains("did you mean");
    let mut lines: Vec<String> = text
        .trim_matches('\n')
        .lines()
        .filter(|line| !said_each_time(line) && !misleading(line))
        .map(|line| match line.split_once("┌─ :") {
            // Where in the program; the place of the program itself stands before all of this.
            Some((indent, place)) => match place.split_once(':') {
                Some((line, column)) => {
                    format!("{indent}┌─ line {line}, column {column} of the program")
                }
                None => line.to_owned(),
            },
            None => line.trim_end().to_owned(),
        })
        .collect();
    while lines.last().is_some_and(|line| line.trim() == "│") {
        lines.pop();
    }
    lines.extend(left_out);
    lines.join("\n")
}

/// The events that `parent` becomes.
fn fan_out(
    parent: &Envelope,
    children: Vec<Value>,
    step: &str,
    max_events: usize,
) -> Result<Vec<Envelope>, RunError> {
    if children.len() > max_events {
        let message = format!(
            "the program makes {} events of one, more than `max_events: {max_events}`",
            children.len()
        );
        return Err(RunError::new("too_many_events", message));
    }
    let children = children.into_iter().enumerate();
    children
        .map(|(index, data)| {
            let mut child = parent.clone();
            child.id = format!("{}/{step}/{index}", parent.id).into();
            child.causationid = Some(parent.id.clone());
            child.idempotencykey = None;
            Document::write(data, &mut child)?;
            Ok(child)
        })
        .collect()
}

/// The types of the attributes, so that a program that misuses one is refused when it is compiled.
fn attribute_kinds() -> ValueKind {
    let scalar = ValueKind::bytes().or_integer().or_boolean().or_undefined();
    let mut attributes = Collection::from_unknown(scalar);
    let mut known = |names: &[&str], kind: ValueKind| {
        for name in names {
            attributes.known_mut().insert((*name).into(), kind.clone());
        }
    };
    known(
        &[
            "specversion",
            "id",
            "source",
            "type",
            "datacontenttype",
            "tenantid",
            "correlationid",
        ],
        ValueKind::bytes(),
    );
    known(&["time", "recordedtime"], ValueKind::timestamp());
    known(&["expirytime"], ValueKind::timestamp().or_undefined());
    known(&["envelopeversion"], ValueKind::integer());
    known(&["hop"], ValueKind::integer().or_undefined());
    known(
        &[
            "subject",
            "partitionkey",
            "dataschema",
            "causationid",
            "sequence",
            "traceparent",
            "tracestate",
            "op",
            "idempotencykey",
            "dataref",
            "authtype",
            "authid",
            "replayid",
            "originsource",
        ],
        ValueKind::bytes().or_undefined(),
    );
    ValueKind::object(attributes)
}
