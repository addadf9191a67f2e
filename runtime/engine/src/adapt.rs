//! Tells modules from components, and makes a core preview-1 module that carries an interface into a component.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt::Display;
use std::ops::Range;

use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
};
use wasmparser::{Encoding, ExternalKind, ImportSectionReader, Imports, Parser, Payload};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

use crate::imports::short;
use crate::prepare::PrepareError;
use crate::reactor;

/// What is compiled.
pub(crate) enum Image<'a> {
    /// A component: as it was given, or a core module that was made one.
    Component(Cow<'a, [u8]>),
    /// A core module that is a program, or a reactor, and asks for preview 1 alone.
    Program(&'a [u8]),
}

/// The bytes as what can be run.
pub(crate) fn image(wasm: &[u8]) -> Result<Image<'_>, PrepareError> {
    match scan(wasm)? {
        None => Ok(Image::Component(Cow::Borrowed(wasm))),
        Some(module) => {
            let (exit, start, typed, callable) = (module.exit.clone(), module.start, module.typed, module.callable);
            module.check()?;
            if typed {
                return adapt(wasm, exit, start).map(Cow::Owned).map(Image::Component);
            }
            if start || callable { Ok(Image::Program(wasm)) } else { Err(PrepareError::NoStart) }
        }
    }
}

/// What matters of a core module.
#[derive(Default)]
struct Module {
    /// What it imports that preview 1 does not have.
    foreign: Vec<String>,
    /// Whether anything of that is not even called preview 1.
    other: bool,
    start: bool,
    /// It exports a function that may be one to call.
    callable: bool,
    /// It carries types for imports beyond preview 1, as bindings generators embed them.
    typed: bool,
    exit: Option<ExitImport>,
}

/// Where the import of `proc_exit` lies in the binary.
#[derive(Clone)]
struct ExitImport {
    /// The contents of the import section.
    section: Range<usize>,
    /// The two names of the import.
    names: Range<usize>,
}

impl Module {
    fn check(self) -> Result<(), PrepareError> {
        // What only lacks functions of preview 1 is told so where they are linked, in words that know versions.
        if !self.typed && self.other {
            return Err(PrepareError::CoreImports { missing: self.foreign });
        }
        Ok(())
    }
}

/// Reads just enough of the binary; `None` for a component.
fn scan(wasm: &[u8]) -> Result<Option<Module>, PrepareError> {
    let malformed = |error: wasmparser::BinaryReaderError| PrepareError::Malformed { message: error.to_string() };
    let mut module = Module::default();
    let preview1 = preview1_functions();
    for payload in Parser::new(0).parse_all(wasm) {
        match payload.map_err(malformed)? {
            Payload::Version { encoding: Encoding::Component, .. } => return Ok(None),
            Payload::ImportSection(section) => {
                module.exit = exit_import(&section).map_err(malformed)?;
                for import in section.into_imports() {
                    let import = import.map_err(malformed)?;
                    let is_ours = import.module == WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME;
                    if !is_ours || !preview1.contains(import.name) {
                        module.foreign.push(format!("{} {}", short(import.module), short(import.name)));
                        module.other |= !is_ours;
                    }
                }
            }
            Payload::ExportSection(section) => {
                for export in section {
                    let export = export.map_err(malformed)?;
                    module.start |= export.name == "_start";
                    module.callable |= export.kind == ExternalKind::Func && reactor::is_callable(export.name);
                }
            }
            Payload::CustomSection(section) => module.typed |= section.name().starts_with("component-type"),
            _ => {}
        }
    }
    module.foreign.truncate(NAMES_MAX);
    Ok(Some(module))
}

/// Missing imports named in one error; a module of another platform imports hundreds.
const NAMES_MAX: usize = 16;

/// What `proc_exit` is sent to instead of the adapter, which knows only success and failure.
const EXIT_WIT: &str =
    "package wk:host@0.1.0; interface exit { exit: func(code: u32); } world program { import exit; }";
const EXIT_NAME: &str = "proc_exit";

/// The interface and function that take the whole exit code of a core module.
pub(crate) const EXIT_INTERFACE: &str = "wk:host/exit@0.1.0";
pub(crate) const EXIT_FUNCTION: &str = "exit";

fn adapt(module: &[u8], exit: Option<ExitImport>, start: bool) -> Result<Vec<u8>, PrepareError> {
    let adapter = if start { WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER } else { WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER };
    let module = match exit {
        Some(exit) => Cow::Owned(with_host_exit(module, &exit)?),
        None => Cow::Borrowed(module),
    };
    ComponentEncoder::default()
        .module(&module)
        .and_then(|encoder| encoder.adapter(WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, adapter))
        .and_then(|encoder| encoder.validate(true).encode())
        .map_err(failed)
}

fn failed(error: impl Display) -> PrepareError {
    PrepareError::Adapt { message: format!("{error:#}") }
}

/// The functions of preview 1: what the adapter for programs exports.
fn preview1_functions() -> BTreeSet<&'static str> {
    let sections = Parser::new(0).parse_all(WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER).flatten();
    let exports = sections.filter_map(|payload| match payload {
        Payload::ExportSection(section) => Some(section.into_iter().flatten()),
        _ => None,
    });
    exports.flatten().map(|export| export.name).collect()
}

fn exit_import(section: &ImportSectionReader<'_>) -> Result<Option<ExitImport>, wasmparser::BinaryReaderError> {
    for entry in section.clone().into_iter_with_offsets() {
        let (offset, entry) = entry?;
        if let Imports::Single(_, import) = entry
            && import.module == WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME
            && import.name == EXIT_NAME
        {
            let names = offset..offset + 2 + import.module.len() + import.name.len();
            return Ok(Some(ExitImport { section: section.range(), names }));
        }
    }
    Ok(None)
}

/// The module with its import of `proc_exit` renamed to ours: same type, other names.
fn with_host_exit(module: &[u8], exit: &ExitImport) -> Result<Vec<u8>, PrepareError> {
    let ExitImport { section, names } = exit;
    let mut given = Vec::new();
    push_name(&mut given, WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME);
    push_name(&mut given, EXIT_NAME);
    if module.get(names.clone()) != Some(&given) {
        // A longer spelling of the same lengths, which no compiler writes.
        return Ok(module.to_vec());
    }
    let mut content = module[section.start..names.start].to_vec();
    push_name(&mut content, EXIT_INTERFACE);
    push_name(&mut content, EXIT_FUNCTION);
    content.extend_from_slice(&module[names.end..section.end]);

    let mut renamed = module[..start_of_section(module, section)].to_vec();
    renamed.push(IMPORT_SECTION);
    push_length(&mut renamed, content.len());
    renamed.append(&mut content);
    renamed.extend_from_slice(&module[section.end..]);

    let mut resolve = Resolve::default();
    let package = resolve.push_str("exit.wit", EXIT_WIT).map_err(failed)?;
    let world = resolve.select_world(&[package], Some("program")).map_err(failed)?;
    embed_component_metadata(&mut renamed, &resolve, world, StringEncoding::UTF8).map_err(failed)?;
    Ok(renamed)
}

const IMPORT_SECTION: u8 = 2;

/// Where the section's id is: before its length, which ends where the contents start.
fn start_of_section(module: &[u8], section: &Range<usize>) -> usize {
    let continued = |at: usize| module[at] & 0x80 != 0;
    let mut length = section.start - 1;
    while continued(length - 1) {
        length -= 1;
    }
    length - 1
}

fn push_name(bytes: &mut Vec<u8>, name: &str) {
    push_length(bytes, name.len());
    bytes.extend_from_slice(name.as_bytes());
}

/// Unsigned LEB128.
fn push_length(bytes: &mut Vec<u8>, mut length: usize) {
    while length > 0x7f {
        bytes.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    bytes.push(length as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wasm(text: &str) -> Vec<u8> {
        wat::parse_str(text).expect("is WebAssembly text")
    }

    fn refused(text: &str) -> String {
        image(&wasm(text)).err().expect("must be refused").to_string()
    }

    #[test]
    fn programs_and_reactors_stay_as_they_are() {
        for name in ["_start", "refresh"] {
            let module = wasm(&format!(r#"(module (memory (export "memory") 1) (func (export "{name}")))"#));
            assert!(matches!(image(&module), Ok(Image::Program(same)) if same == module), "{name}");
        }
    }

    #[test]
    fn component_stays_as_it_is() {
        let given = wasm("(component)");
        assert!(matches!(image(&given), Ok(Image::Component(same)) if same == given));
    }

    #[test]
    fn module_of_another_platform_is_refused_by_its_imports() {
        let message = refused(r#"(module (import "env" "emscripten_sleep" (func)) (func (export "_start")))"#);
        assert!(message.contains("env emscripten_sleep"), "{message}");
    }

    #[test]
    fn all_that_a_module_lacks_is_named_at_once() {
        assert!(preview1_functions().contains("fd_write"));
        let message = refused(
            r#"(module (import "env" "foo" (func)) (import "wasi_snapshot_preview1" "nope" (func))
                (import "wasi_snapshot_preview1" "sched_yield" (func (result i32))) (func (export "_start")))"#,
        );
        assert!(message.contains("env foo, wasi_snapshot_preview1 nope"), "{message}");
        assert!(!message.contains("sched_yield"), "{message}");
    }

    #[test]
    fn module_without_start_is_refused() {
        let message = refused(r#"(module (memory (export "memory") 1))"#);
        assert!(message.contains("_start"), "{message}");
    }

    #[test]
    fn other_bytes_are_refused() {
        for bytes in [&b"\x7fELF\x02\x01"[..], b"", b"\0asm", b"\0asm\x01\0\0\0\xff\xff"] {
            let error = image(bytes).err().expect("must be refused");
            assert!(matches!(error, PrepareError::Malformed { .. } | PrepareError::NoStart), "{bytes:?}: {error}");
        }
    }
}
