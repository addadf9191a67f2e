//! A preview-1 reactor: a core module without a main function, whose exported functions are called one by one.
//!
//! A module says of its functions only what the machine sees: numbers. Those that take and answer nothing else are what
//! `exec`, probes and hooks call (`Engine::invoke`), over the same functions of preview 1 that programs have. Modules that
//! carry their own interface, as bindings generators embed it, need none of this: they become components (`adapt`).

use std::fmt;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use wasmtime::{ExportType, ExternType, FuncType, InstancePre, Module, Val, ValType};

use crate::engine::Engine;
use crate::failure::{Exit, Failure, caught};
use crate::functions::{listed, told};
use crate::host::Host;
use crate::invoke::InvokeError;
use crate::sandbox::{Sandbox, Stream};
use crate::threads::apart;

/// What a toolchain has called before anything else is.
const INITIALIZE: &str = "_initialize";

/// An exported function that takes and answers numbers.
pub(crate) struct Function {
    name: String,
    ty: FuncType,
}

impl fmt::Display for Function {
    /// Name and signature: `add_up(p0: s32, p1: f64) -> s64`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}(", self.name)?;
        for (at, ty) in self.ty.params().enumerate() {
            let comma = if at > 0 { ", " } else { "" };
            write!(f, "{comma}p{at}: {}", number(&ty).unwrap_or("?"))?;
        }
        f.write_str(")")?;
        self.ty.results().try_for_each(|ty| write!(f, " -> {}", number(&ty).unwrap_or("?")))
    }
}

/// A type as WIT writes it, if it is a number's.
fn number(ty: &ValType) -> Option<&'static str> {
    match ty {
        ValType::I32 => Some("s32"),
        ValType::I64 => Some("s64"),
        ValType::F32 => Some("f32"),
        ValType::F64 => Some("f64"),
        ValType::V128 | ValType::Ref(_) => None,
    }
}

/// Whether a function of this name may be one to call: what begins so is between a module and its toolchain.
pub(crate) fn is_callable(name: &str) -> bool {
    !name.starts_with('_')
}

/// A function that can be called, if this export is one.
fn function(export: &ExportType<'_>) -> Option<Function> {
    let ExternType::Func(ty) = export.ty() else { return None };
    let mut types = ty.params().chain(ty.results());
    let is_of_numbers = ty.results().len() <= 1 && types.all(|ty| number(&ty).is_some());
    is_of_numbers.then(|| Function { name: export.name().to_owned(), ty: ty.clone() })
}

/// All of them, in the module's order.
pub(crate) fn functions(module: &Module) -> impl Iterator<Item = Function> {
    module.exports().filter(|export| is_callable(export.name())).filter_map(|export| function(&export))
}

/// The one of this name.
pub(crate) fn find(module: &Module, name: &str) -> Result<Function, InvokeError> {
    // Whoever writes WIT has other dashes.
    let plain = |byte: u8| if byte == b'-' { b'_' } else { byte };
    let is_it = |known: &str| known.bytes().map(plain).eq(name.bytes().map(plain));
    let mut named = module.exports().filter(|export| is_callable(export.name()) && is_it(export.name()));
    let missing = || InvokeError::NoFunction { function: name.to_owned(), there: listed(functions(module)) };
    named.find_map(|export| function(&export)).ok_or_else(missing)
}

/// Calls `function` with `args` until it answers, or until `cancel`.
pub(crate) async fn call(
    engine: &Engine,
    pre: &InstancePre<Host>,
    sandbox: Sandbox,
    function: &str,
    args: Vec<String>,
    cancel: CancellationToken,
) -> Result<Exit, InvokeError> {
    let (module, wanted) = (pre.module().clone(), function.to_owned());
    let found = apart(&sandbox.usage, move || find(&module, &wanted)).await?;
    let params = arguments(&found, args)?;
    let mut results = vec![Val::I32(0); found.ty.results().len()];
    if let Err(failure) = engine.admit(&sandbox) {
        return Ok(Exit::Failed(failure));
    }
    let sandbox = Arc::new(sandbox.resolved());
    let mut store = Host::store(engine.wasmtime(), &sandbox, engine.running());
    let (pre, name, output) = (pre.clone(), found.name.clone(), Arc::clone(&sandbox));
    let call = engine.guest(&sandbox, async move {
        let outcome = async {
            let instance = pre.instantiate_async(&mut store).await?;
            store.data_mut().limits.started();
            if let Some(initialize) = instance.get_func(&mut store, INITIALIZE) {
                initialize.call_async(&mut store, &[], &mut []).await?;
            }
            let called = instance.get_func(&mut store, &name);
            let called = called.ok_or_else(|| wasmtime::format_err!("the function {name} is not there"))?;
            called.call_async(&mut store, &params, &mut results).await
        };
        match caught(outcome).await {
            Err(failure) => Exit::Failed(failure),
            Ok(Ok(())) => Exit::Code(results.first().map_or(0, |answer| tell(answer, &output))),
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

fn arguments(function: &Function, args: Vec<String>) -> Result<Vec<Val>, InvokeError> {
    let refused = |message: String| InvokeError::Arguments { function: told(function), message };
    let mut given = args.into_iter();
    let mut values = Vec::with_capacity(function.ty.params().len());
    for (at, ty) in function.ty.params().enumerate() {
        let text = given.next().ok_or_else(|| refused(format!("p{at} is missing")))?;
        let wrong = || refused(format!("p{at} is {text:?}, which is no {}", number(&ty).unwrap_or("number")));
        values.push(value(&ty, &text).ok_or_else(wrong)?);
    }
    match given.next() {
        Some(rest) => Err(refused(format!("{rest:?} is one argument too many"))),
        None => Ok(values),
    }
}

fn value(ty: &ValType, text: &str) -> Option<Val> {
    match ty {
        ValType::I32 => text.parse().ok().map(Val::I32),
        ValType::I64 => text.parse().ok().map(Val::I64),
        ValType::F32 => text.parse().ok().map(|number: f32| Val::F32(number.to_bits())),
        ValType::F64 => text.parse().ok().map(|number: f64| Val::F64(number.to_bits())),
        ValType::V128 | ValType::Ref(_) => None,
    }
}

/// A small number is the exit code; everything else is a line of output.
fn tell(answer: &Val, sandbox: &Sandbox) -> i32 {
    let text = match answer {
        Val::I32(code) => return *code,
        Val::I64(number) => number.to_string(),
        Val::F32(bits) => f32::from_bits(*bits).to_string(),
        Val::F64(bits) => f64::from_bits(*bits).to_string(),
        _ => return 0,
    };
    sandbox.output.write(Stream::Out, format!("{text}\n").as_bytes());
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(text: &str) -> Module {
        let engine = wasmtime::Engine::default();
        Module::new(&engine, wat::parse_str(text).expect("is WebAssembly text")).expect("compiles")
    }

    #[test]
    fn functions_of_numbers_are_found_and_others_left_out() {
        let module = module(
            r#"(module
                (memory (export "memory") 1)
                (func (export "_initialize"))
                (func (export "add_up") (param i32 f64) (result i64) i64.const 0)
                (func (export "twice") (result i32 i32) i32.const 0 i32.const 0)
                (func (export "reference") (param externref))
                (func (export "list")))"#,
        );
        let found: Vec<_> = functions(&module).map(|function| function.to_string()).collect();
        assert_eq!(found, ["add_up(p0: s32, p1: f64) -> s64", "list()"]);
    }
}
