//! Compiling programs and running them.

use std::cell::RefCell;
use std::ops::ControlFlow;
use std::sync::{Arc, LazyLock};

use headgate_sdk::envelope::{FIXED, media_type};
use headgate_sdk::{Data, Envelope, Str};
use vrl::compiler::runtime::{Runtime, Terminate};
use vrl::compiler::state::{ExternalEnv, RuntimeState};
use vrl::compiler::{CompileConfig, TimeZone};
use vrl::diagnostic::Formatter;
use vrl::path::{OwnedSegment, OwnedTargetPath, OwnedValuePath, PathPrefix};
use vrl::value::Value;
use vrl::value::kind::{Collection, Kind as ValueKind};

use super::config::{Kind, Numbers};
use super::functions::ALLOWED;
use super::target::EventTarget;
use super::{ProgramError, RunError, parse, print};

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
            .map_err(|diagnostics| {
                ProgramError(
                    Formatter::new(source, diagnostics)
                        .to_string()
                        .trim_matches('\n')
                        .to_owned(),
                )
            })?;
        let program = compiled.program;
        if kind == Kind::Condition && !program.final_type_info().result.kind().is_boolean() {
            let kind = program.final_type_info().result.kind().to_string();
            return Err(ProgramError(format!(
                "a condition is true or false, but the last expression of this one is {kind}: compare it, as in `.active == true`"
            )));
        }
        let info = program.info();
        let paths = || info.target_queries.iter().chain(&info.target_assignments);
        let attributes = paths()
            .filter(|path| path.prefix == PathPrefix::Metadata)
            .map(|path| match path.path.segments.first() {
                Some(OwnedSegment::Field(name)) => Some(name.to_string()),
                _ => None,
            })
            .collect();
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
    pub(super) fn holds(&self, event: &Envelope) -> Result<bool, RunError> {
        let mut target = self.target(event, Numbers::Text)?;
        Ok(self.resolve(&mut target)? == Value::Boolean(true))
    }

    /// The value of a key, `None` if it is null.
    pub(super) fn key(&self, event: &Envelope) -> Result<Option<String>, RunError> {
        let mut target = self.target(event, Numbers::Text)?;
        match self.resolve(&mut target)? {
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

    /// What `event` becomes, `None` if nothing changed.
    pub(super) fn transform(
        &self,
        event: &Envelope,
        numbers: Numbers,
        step: &str,
        max_events: usize,
    ) -> Result<Option<Vec<Envelope>>, RunError> {
        let mut target = self.target(event, numbers)?;
        self.resolve(&mut target)?;
        if !target.data_changed && !target.attributes_changed() {
            return Ok(None);
        }
        let mut changed = event.clone();
        target.write_attributes(&mut changed)?;
        if !target.data_changed {
            return Ok(Some(vec![changed]));
        }
        match &target.data {
            Value::Array(children) if self.0.sets_root => {
                if children.len() > max_events {
                    let message = format!(
                        "the program makes {} events of one, more than `max_events: {max_events}`",
                        children.len()
                    );
                    return Err(RunError::new("too_many_events", message));
                }
                children
                    .iter()
                    .enumerate()
                    .map(|(index, data)| child(&changed, step, index, data))
                    .collect::<Result<_, _>>()
                    .map(Some)
            }
            data => {
                set_data(&mut changed, data)?;
                Ok(Some(vec![changed]))
            }
        }
    }

    fn target(&self, event: &Envelope, numbers: Numbers) -> Result<EventTarget, RunError> {
        let data = if self.0.reads_data {
            data_of(event, numbers)?
        } else {
            Value::Null
        };
        let target = EventTarget::new(data, event, |name| {
            self.0
                .attributes
                .as_ref()
                .is_none_or(|wanted| wanted.iter().any(|wanted| wanted == name))
        });
        Ok(target)
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

/// What `.` is: JSON as such, other text as a string, other bytes as bytes, no data as null.
fn data_of(event: &Envelope, numbers: Numbers) -> Result<Value, RunError> {
    let Some(bytes) = event.data.bytes() else {
        return Ok(Value::Null);
    };
    if !event.data.is_known_json() && !media_type::is_json(&event.datacontenttype) {
        return Ok(Value::Bytes(bytes.clone()));
    }
    let text = std::str::from_utf8(bytes)
        .map_err(|_| RunError::new("invalid_data", "the data is not UTF-8"))?;
    parse::parse(bytes, text, numbers)
}

/// Data that a program made is JSON.
fn set_data(event: &mut Envelope, data: &Value) -> Result<(), RunError> {
    let mut text = Vec::with_capacity(event.data.len() + 64);
    print::print(data, &mut text)?;
    event.data = Data::json(text);
    if !media_type::is_json(&event.datacontenttype) {
        event.datacontenttype = Str::new_static("application/json");
    }
    Ok(())
}

/// One of several events that `parent` became.
fn child(parent: &Envelope, step: &str, index: usize, data: &Value) -> Result<Envelope, RunError> {
    let mut child = parent.clone();
    child.id = format!("{}/{step}/{index}", parent.id).into();
    child.causationid = Some(parent.id.clone());
    child.idempotencykey = None;
    set_data(&mut child, data)?;
    Ok(child)
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
