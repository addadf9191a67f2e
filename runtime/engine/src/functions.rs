//! The functions that a component exports, as people name them: `refresh`, or `acme:shop/admin@1.0.0#refresh` for one
//! of an interface.
//!
//! Not here: calling one (`invoke.rs`), and the worlds of `wasi:http` and `wasi:cli` (`imports.rs`).

use std::fmt;
use std::ops::ControlFlow;

use wasmtime::component::types::{ComponentFunc, ComponentItem, Type};
use wasmtime::component::{Component, ComponentExportIndex};

use crate::invoke::InvokeError;

/// Functions that are told when one is asked for that is not there, and bytes of each: more than a person reads. Whoever made
/// the module chose their names, those of their parameters, and how many there are.
const TOLD_MAX: usize = 64;
const TOLD_BYTES_MAX: usize = 256;
/// Types in one another that are told.
const TYPES_DEEP_MAX: u32 = 6;

/// A function as it is told, cut where it is long.
pub(crate) fn told(function: &impl fmt::Display) -> String {
    let mut cut = Cut(String::new());
    // It fails where there is no more room.
    let _ = fmt::write(&mut cut, format_args!("{function}"));
    cut.0
}

/// The first of them, and whether there are more: they are not counted, for there may be tens of thousands.
pub(crate) fn listed<T: fmt::Display>(mut all: impl Iterator<Item = T>) -> Vec<String> {
    let mut listed: Vec<String> = all.by_ref().take(TOLD_MAX).map(|function| told(&function)).collect();
    listed.extend(all.next().map(|_| "and more".to_owned()));
    listed
}

/// As much of a text as fits.
struct Cut(String);

impl fmt::Write for Cut {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = TOLD_BYTES_MAX - self.0.len();
        if text.len() <= room {
            self.0.push_str(text);
            return Ok(());
        }
        self.0.push_str(&text[..text.floor_char_boundary(room.saturating_sub(3))]);
        self.0.push_str(if room < 3 { "" } else { "..." });
        Err(fmt::Error)
    }
}

/// An exported function.
pub(crate) struct Function {
    /// The interface with its version; none for a function of the component's own.
    interface: Option<String>,
    name: String,
    pub(crate) ty: ComponentFunc,
    pub(crate) index: ComponentExportIndex,
}

impl Function {
    fn of(component: &Component, named: Named<'_>, ty: ComponentFunc) -> Option<Self> {
        let Named { interface, name } = named;
        let parent = match interface {
            Some(interface) => Some(component.get_export_index(None, interface)?),
            None => None,
        };
        let index = component.get_export_index(parent.as_ref(), name)?;
        Some(Self { interface: interface.map(str::to_owned), name: name.to_owned(), ty, index })
    }

    /// Whether it is the `run` of a program, whose arguments are those of a process.
    pub(crate) fn is_run(&self) -> bool {
        Named { interface: self.interface.as_deref(), name: &self.name }.is_run()
    }
}

/// How an exported function is called.
#[derive(Clone, Copy)]
struct Named<'a> {
    interface: Option<&'a str>,
    name: &'a str,
}

impl Named<'_> {
    /// Whether `wanted` is its name: with or without the interface's version, and, for a function of the component's
    /// own, nothing but the name.
    fn is(self, wanted: &str) -> bool {
        if wanted == RUN {
            return self.is_run();
        }
        match (self.interface, wanted.split_once('#')) {
            (None, None) => self.name == wanted,
            (Some(interface), Some((wanted, function))) => {
                self.name == function && (interface == wanted || unversioned(interface) == wanted)
            }
            _ => false,
        }
    }

    fn is_run(self) -> bool {
        self.name == "run" && self.interface.is_some_and(|interface| unversioned(interface) == RUN)
    }
}

impl fmt::Display for Function {
    /// Name and signature: `acme:shop/admin@1.0.0#refresh(name: string) -> bool`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(interface) = &self.interface {
            write!(f, "{interface}#")?;
        }
        write!(f, "{}(", self.name)?;
        for (at, (name, ty)) in self.ty.params().enumerate() {
            let comma = if at > 0 { ", " } else { "" };
            write!(f, "{comma}{name}: {}", type_name(&ty))?;
        }
        f.write_str(")")?;
        self.ty.results().try_for_each(|ty| write!(f, " -> {}", type_name(&ty)))
    }
}

/// What a program exports, and how it may be named in short.
const RUN: &str = "wasi:cli/run";

/// The one function of a program that is a core module, as it would be told of a component.
pub(crate) const PROGRAM: &str = "wasi:cli/run#run() -> result";

/// Whether `wanted` names it.
pub(crate) fn is_program(wanted: &str) -> bool {
    let (interface, function) = wanted.split_once('#').unwrap_or((wanted, "run"));
    function == "run" && (unversioned(interface) == RUN || interface == "run")
}

fn unversioned(interface: &str) -> &str {
    interface.split_once('@').map_or(interface, |(name, _)| name)
}

/// How long the names are of what a component exports, and of what its interfaces have.
pub(crate) fn name_lengths(component: &Component) -> Vec<usize> {
    let engine = component.engine();
    let types = component.component_type();
    let mut lengths = Vec::new();
    for (name, export) in types.exports(engine) {
        lengths.push(name.len());
        if let ComponentItem::ComponentInstance(instance) = export.ty {
            lengths.extend(instance.exports(engine).map(|(name, _)| name.len()));
        }
    }
    lengths
}

/// Hands all of them to `visit`, in the component's order, until it breaks off. Nothing is made of those that nobody wants:
/// whoever made the module chose how many there are.
fn each<T>(component: &Component, mut visit: impl FnMut(Named<'_>, ComponentFunc) -> ControlFlow<T>) -> ControlFlow<T> {
    let engine = component.engine();
    let types = component.component_type();
    for (name, export) in types.exports(engine) {
        match export.ty {
            ComponentItem::ComponentFunc(ty) => visit(Named { interface: None, name }, ty)?,
            ComponentItem::ComponentInstance(instance) => {
                let interface = Some(name);
                for (name, export) in instance.exports(engine) {
                    // Methods and constructors need a resource, which no text names.
                    if let (ComponentItem::ComponentFunc(ty), false) = (export.ty, name.starts_with('[')) {
                        visit(Named { interface, name }, ty)?;
                    }
                }
            }
            _ => {}
        }
    }
    ControlFlow::Continue(())
}

/// Whether there is any that is not of an interface of WASI, which has its own ways of being called.
pub(crate) fn any_of_its_own(component: &Component) -> bool {
    let of_wasi = |named: Named<'_>| named.interface.is_some_and(|name| name.starts_with("wasi:"));
    each(component, |named, _| if of_wasi(named) { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        .is_break()
}

/// The first of them, as they are told.
pub(crate) fn told_of(component: &Component) -> Vec<String> {
    let mut first = Vec::new();
    let _all = each(component, |named, ty| {
        first.extend(Function::of(component, named, ty));
        if first.len() > TOLD_MAX { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    listed(first.into_iter())
}

/// The one that `wanted` names; an interface's function also by its own name alone, if no other has it.
pub(crate) fn find(component: &Component, wanted: &str) -> Result<Function, InvokeError> {
    // In C and Rust the same name has other dashes.
    let name = wanted.replace('_', "-");
    let (mut alike, mut count) = (None, 0);
    let found = each(component, |named, ty| {
        if named.is(&name) {
            return Function::of(component, named, ty).map_or(ControlFlow::Continue(()), ControlFlow::Break);
        }
        if named.name == name {
            count += 1;
            alike = alike.take().or_else(|| Function::of(component, named, ty));
        }
        ControlFlow::Continue(())
    });
    let found = found.break_value().or(alike.filter(|_| count == 1));
    let missing = || InvokeError::NoFunction { function: wanted.to_owned(), there: told_of(component) };
    found.ok_or_else(missing)
}

/// A type as WIT writes it; those with fields or cases by their kind alone, and one too deep in others by three dots.
pub(crate) fn type_name(ty: &Type) -> String {
    type_within(ty, TYPES_DEEP_MAX)
}

fn type_within(ty: &Type, deep: u32) -> String {
    let Some(deep) = deep.checked_sub(1) else { return "...".into() };
    let type_name = |ty: &Type| type_within(ty, deep);
    match ty {
        Type::Bool => "bool".into(),
        Type::S8 => "s8".into(),
        Type::U8 => "u8".into(),
        Type::S16 => "s16".into(),
        Type::U16 => "u16".into(),
        Type::S32 => "s32".into(),
        Type::U32 => "u32".into(),
        Type::S64 => "s64".into(),
        Type::U64 => "u64".into(),
        Type::Float32 => "f32".into(),
        Type::Float64 => "f64".into(),
        Type::Char => "char".into(),
        Type::String => "string".into(),
        Type::List(list) => format!("list<{}>", type_name(&list.ty())),
        Type::Option(option) => format!("option<{}>", type_name(&option.ty())),
        Type::Result(result) => match (result.ok(), result.err()) {
            (None, None) => "result".into(),
            (Some(ok), None) => format!("result<{}>", type_name(&ok)),
            (ok, Some(err)) => {
                let ok = ok.map_or_else(|| "_".to_owned(), |ok| type_name(&ok));
                format!("result<{ok}, {}>", type_name(&err))
            }
        },
        Type::Map(_) => "map".into(),
        Type::Record(_) => "record".into(),
        Type::Tuple(_) => "tuple".into(),
        Type::Variant(_) => "variant".into(),
        Type::Enum(_) => "enum".into(),
        Type::Flags(_) => "flags".into(),
        Type::Own(_) | Type::Borrow(_) => "resource".into(),
        Type::Future(_) => "future".into(),
        Type::Stream(_) => "stream".into(),
        Type::ErrorContext => "error-context".into(),
        Type::FixedLengthList(list) => format!("list<{}, {}>", type_name(&list.ty()), list.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_of_functions_is_cut() {
        let all: Vec<String> = (0..TOLD_MAX + 5).map(|at| format!("{at}{}", "ä".repeat(TOLD_BYTES_MAX))).collect();
        let told = listed(all.iter());
        assert_eq!((told.len(), told[TOLD_MAX].as_str()), (TOLD_MAX + 1, "and more"));
        assert!(told[..TOLD_MAX].iter().all(|it| it.len() <= TOLD_BYTES_MAX && it.ends_with("ä...")), "{}", told[0]);
        assert_eq!(listed(["one()"].iter()), ["one()"]);
    }
}
