//! Calls one exported function of a component, in an instance of its own: what `exec`, probes and hooks do.
//!
//! Arguments are text. The answer becomes an exit code and text in the sandbox's output, as a program's would.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use wasmtime::component::Val;
use wasmtime::component::types::Type;

use crate::command;
use crate::engine::Engine;
use crate::failure::{Exit, Failure, caught};
use crate::functions::{self, Function, type_name};
use crate::host::Host;
use crate::prepare::Prepared;
use crate::reactor;
use crate::sandbox::{Sandbox, Stream};
use crate::threads::apart;

/// A function cannot be called: nothing of the guest has run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum InvokeError {
    /// The component does not export it.
    #[error(
        "the component exports no function {function:?}; {}",
        if there.is_empty() { "it exports none at all".to_owned() } else { format!("it exports {}", there.join(", ")) }
    )]
    NoFunction {
        /// What was asked for.
        function: String,
        /// The signatures of those it exports.
        there: Vec<String>,
    },
    /// The arguments do not fit.
    #[error("call {function}: {message}")]
    Arguments {
        /// Its signature.
        function: String,
        /// Which argument, and what it should be.
        message: String,
    },
    /// It takes or answers what text cannot say: records, resources, streams.
    #[error("call {function}: a {kind} cannot be written as text")]
    Signature {
        /// Its signature.
        function: String,
        /// The type that is in the way.
        kind: String,
    },
    /// The process in which it would run did not take it.
    #[error("{0}")]
    Place(String),
}

/// Calls `function` with `args` until it answers, or until `cancel`.
pub(crate) async fn invoke(
    engine: &Engine,
    prepared: &Prepared,
    mut sandbox: Sandbox,
    function: &str,
    args: Vec<String>,
    cancel: CancellationToken,
) -> Result<Exit, InvokeError> {
    if let Some(pre) = &prepared.reactor {
        return reactor::call(engine, pre, sandbox, function, args, cancel).await;
    }
    let Some(pre) = &prepared.instance else {
        return run_again(engine, prepared, sandbox, function, args, cancel).await;
    };
    let (component, wanted) = (pre.component().clone(), function.to_owned());
    let function = &apart(&sandbox.usage, move || functions::find(&component, &wanted)).await?;
    let params = if function.is_run() {
        sandbox.args.extend(args);
        Vec::new()
    } else {
        arguments(function, args)?
    };
    let mut results = results(function)?;

    if let Err(failure) = engine.admit(&sandbox) {
        return Ok(Exit::Failed(failure));
    }
    let sandbox = Arc::new(sandbox.resolved());
    let mut store = Host::store(engine.wasmtime(), &sandbox, engine.running());
    let (pre, name, index, output) = (pre.clone(), functions::told(function), function.index, Arc::clone(&sandbox));
    let call = engine.guest(&sandbox, async move {
        let outcome = async {
            let instance = pre.instantiate_async(&mut store).await?;
            store.data_mut().limits.started();
            let called = instance.get_func(&mut store, index);
            let called = called.ok_or_else(|| wasmtime::format_err!("the function {name} is not there"))?;
            called.call_async(&mut store, &params, &mut results).await
        };
        match caught(outcome).await {
            Err(failure) => Exit::Failed(failure),
            Ok(Ok(())) => Exit::Code(results.first().map_or(SUCCESS_CODE, |answer| tell(answer, Stream::Out, &output))),
            Ok(Err(error)) => match Failure::of(&error, &store.data().limits) {
                Failure::Exited { code } => Exit::Code(code),
                failure => Exit::Failed(failure),
            },
        }
    });
    Ok(tokio::select! {
        // A guest that yields at every tick is ready to be polled at any time, so look at the token first.
        biased;
        () = cancel.cancelled() => Exit::Cancelled,
        exit = call => exit,
    })
}

/// Runs a program that has nothing but its beginning, with more arguments.
async fn run_again(
    engine: &Engine,
    prepared: &Prepared,
    mut sandbox: Sandbox,
    function: &str,
    args: Vec<String>,
    cancel: CancellationToken,
) -> Result<Exit, InvokeError> {
    match &prepared.command {
        Some(program) if functions::is_program(function) => {
            sandbox.args.extend(args);
            Ok(command::run(engine, program, sandbox, cancel).await)
        }
        _ => Err(InvokeError::NoFunction { function: function.to_owned(), there: prepared.functions() }),
    }
}

const SUCCESS_CODE: i32 = 0;

/// `false`, and an error: the code a shell knows for failure.
const FAILURE_CODE: i32 = 1;

/// The arguments as the function's types want them. A list at the end takes all that are left; options at the end may
/// be left out.
fn arguments(function: &Function, args: Vec<String>) -> Result<Vec<Val>, InvokeError> {
    let refused = |message: String| InvokeError::Arguments { function: functions::told(function), message };
    let last = function.ty.params().len().saturating_sub(1);
    let mut given = args.into_iter();
    let mut values = Vec::new();
    for (at, (name, ty)) in function.ty.params().enumerate() {
        if let Some(kind) = unwritable(&ty) {
            return Err(InvokeError::Signature { function: functions::told(function), kind });
        }
        let fitting = |ty: &Type, text: String| {
            let wrong = format!("{name} is {text:?}, which is no {}", type_name(ty));
            value(ty, text).ok_or_else(|| refused(wrong))
        };
        values.push(match &ty {
            Type::List(list) if at == last => {
                let ty = list.ty();
                Val::List(given.by_ref().map(|text| fitting(&ty, text)).collect::<Result<_, _>>()?)
            }
            ty => match given.next() {
                Some(text) => fitting(ty, text)?,
                None if matches!(ty, Type::Option(_)) => Val::Option(None),
                None => return Err(refused(format!("{name} is missing"))),
            },
        });
    }
    match given.next() {
        Some(rest) => Err(refused(format!("{rest:?} is one argument too many"))),
        None => Ok(values),
    }
}

/// The text as a value of the type.
fn value(ty: &Type, text: String) -> Option<Val> {
    Some(match ty {
        Type::String => Val::String(text),
        Type::Bool => Val::Bool(text.parse().ok()?),
        Type::S8 => Val::S8(text.parse().ok()?),
        Type::U8 => Val::U8(text.parse().ok()?),
        Type::S16 => Val::S16(text.parse().ok()?),
        Type::U16 => Val::U16(text.parse().ok()?),
        Type::S32 => Val::S32(text.parse().ok()?),
        Type::U32 => Val::U32(text.parse().ok()?),
        Type::S64 => Val::S64(text.parse().ok()?),
        Type::U64 => Val::U64(text.parse().ok()?),
        Type::Float32 => Val::Float32(text.parse().ok()?),
        Type::Float64 => Val::Float64(text.parse().ok()?),
        Type::Char => Val::Char(text.parse().ok()?),
        Type::Enum(cases) => Val::Enum(cases.names().any(|case| case == text).then_some(text)?),
        Type::List(list) => Val::List(vec![value(&list.ty(), text)?]),
        Type::Option(option) => Val::Option(Some(Box::new(value(&option.ty(), text)?))),
        _ => return None,
    })
}

/// A place for the answer, if text and a code can say it.
fn results(function: &Function) -> Result<Vec<Val>, InvokeError> {
    match function.ty.results().find_map(|ty| unwritable(&ty)) {
        Some(kind) => Err(InvokeError::Signature { function: functions::told(function), kind }),
        None => Ok(vec![Val::Bool(false); function.ty.results().len()]),
    }
}

/// The part of a type that text cannot say.
fn unwritable(ty: &Type) -> Option<String> {
    match ty {
        Type::List(list) => unwritable(&list.ty()),
        Type::Option(option) => unwritable(&option.ty()),
        Type::Result(result) => {
            let parts = [result.ok(), result.err()];
            parts.iter().flatten().find_map(unwritable)
        }
        Type::Map(_)
        | Type::Record(_)
        | Type::Tuple(_)
        | Type::Variant(_)
        | Type::Flags(_)
        | Type::Own(_)
        | Type::Borrow(_)
        | Type::Future(_)
        | Type::Stream(_)
        | Type::ErrorContext
        | Type::FixedLengthList(_) => Some(type_name(ty)),
        _ => None,
    }
}

/// Says the answer as a program would, and returns its exit code: small numbers are the code, everything else is text.
fn tell(answer: &Val, stream: Stream, sandbox: &Sandbox) -> i32 {
    match answer {
        Val::Bool(yes) => return if *yes { SUCCESS_CODE } else { FAILURE_CODE },
        Val::U8(code) => return i32::from(*code),
        Val::S8(code) => return i32::from(*code),
        Val::U16(code) => return i32::from(*code),
        Val::S16(code) => return i32::from(*code),
        Val::U32(code) => return code.cast_signed(),
        Val::S32(code) => return *code,
        Val::Option(Some(inner)) | Val::Result(Ok(Some(inner))) => return tell(inner, stream, sandbox),
        Val::Result(Err(None)) => return FAILURE_CODE,
        Val::Result(Err(Some(inner))) => return tell(inner, Stream::Err, sandbox).max(FAILURE_CODE),
        Val::List(items) => {
            return items.iter().map(|item| tell(item, stream, sandbox)).max().unwrap_or(SUCCESS_CODE);
        }
        Val::String(text) | Val::Enum(text) => say(text, stream, sandbox),
        Val::S64(number) => say(&number.to_string(), stream, sandbox),
        Val::U64(number) => say(&number.to_string(), stream, sandbox),
        Val::Float32(number) => say(&number.to_string(), stream, sandbox),
        Val::Float64(number) => say(&number.to_string(), stream, sandbox),
        Val::Char(character) => say(character.encode_utf8(&mut [0; 4]), stream, sandbox),
        // Nothing to say; and what `results` has refused.
        _ => {}
    }
    SUCCESS_CODE
}

/// A line of output; in pieces, since the whole may be longer than an output takes at once.
fn say(text: &str, stream: Stream, sandbox: &Sandbox) {
    for piece in text.as_bytes().chunks(crate::output::PIECE_BYTES_MAX) {
        sandbox.output.write(stream, piece);
    }
    if !text.is_empty() && !text.ends_with('\n') {
        sandbox.output.write(stream, b"\n");
    }
}
